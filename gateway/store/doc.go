// Package store keeps what must survive the process, and is the only importer
// of badger. A Store has three directories that fail apart from each other:
// cache/ (generations of policy and registry, replaceable from the cloud),
// messages/ (session queues, retained messages, twins, journals, parked messages) and
// outbox/ (what waits to go upstream: a log of segments, internal/seglog).
//
// Durability: every commit is one synced transaction, or one synced group of the
// log; a done function or a nil return means that a power cut no longer takes the record.
// Only removals from the outbox for which nobody waits are synced later, within a second or
// so: a power cut then has the message sent once more. Ordering: messages/ and
// outbox/ have a group committer each. What is submitted is committed in submission order,
// and done functions run in submission order, on one goroutine, after the sync.
//
// Integrity: badger opens a damaged directory without complaint and with fewer records
// (docs/spec/libraries.md 2.3), so what it reads is checked. Each record carries a
// CRC; each transaction also writes a head (commit number, live records, sum of their
// hashes); a witness file beside the directory holds the last commit number. Open
// reads every record and compares. A store that fails is set aside below quarantine/
// with a timestamp, the gateway starts without it, and Quarantined names it. From a
// messages store that can still be read, the parked messages that verify are carried
// over: they were acknowledged. The outbox is never set aside: damage to it loses the records
// that it hit, and Quarantined says how many.
//
// A panic on one of badger's own goroutines during open cannot be recovered from. A
// marker file therefore exists while a directory is opened: the Go runtime writes the
// report of a crash into it, and the next start sets the directory aside. If the
// process was killed from outside, the marker is empty, and the next start opens the
// directory again.
//
// Full disk: badger dies by SIGBUS when the file system is full, so free space is
// measured before it is touched. Below Options.MinFree, writes are refused with
// ErrDiskFull and the process goes on; removals are accepted down to half of it. A
// ballast file is deleted if a start would be impossible otherwise. Compactors run
// only while as much is free as they could write (headroom.go): otherwise the
// directory is opened again without them, and grows until enough is free.
//
// Concurrency: all exported methods are safe for concurrent use unless they
// say otherwise.
package store
