// Package seglog is a log of records that wait, each in a stream, until they are removed. It
// knows bytes, streams and numbers, and nothing of messages.
//
// Files. Records are appended to numbered segments. A segment that is full gets a footer: an
// index of its records by stream (index.go). Its file does not change after that, except that
// it is written anew without its removed records, under the same name (tidy.go). Removals are
// written to the segment that is being written, as places: a segment's number and a record's
// number in it. A checkpoint is a file that says which records were removed up to an offset of
// a segment (checkpoint.go). A start reads the newest checkpoint, the segments from there on,
// and of all others the footers.
//
// Durability. Commit writes one group of frames by one write and syncs it. Each group says up to
// which offset the file was synced before it. What does not verify behind the last offset of
// which a group says so was never acknowledged, and ends the log silently.
// What does not verify before it is damage.
//
// Damage loses what it hit. Each frame has a checksum, and a reader goes on with the next frame
// that verifies; a lost footer is made again from the frames; without a checkpoint all
// segments are read. A removal that is lost brings records back that were removed: whoever
// sends them sends them again.
//
// Memory. Of a removed or waiting record a bit is kept, of a stream its sums, and of the
// segment that is written its index. Footers are read when they are needed, a bounded number of
// bytes of them is kept.
//
// Concurrency. One goroutine calls Commit, one at a time calls Tidy; all other methods may
// be called from any goroutine.
package seglog
