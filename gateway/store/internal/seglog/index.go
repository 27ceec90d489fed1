package seglog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"slices"
)

// entry is where a record is, and what is counted of it.
type entry struct {
	number uint64
	offset uint32 // of its frame
	length uint32 // of its frame
	id     uint32 // its number within the segment
	size   uint32 // as quotas count
}

const entrySize = 24

// span is a part of a segment's file.
type span struct{ offset, length uint32 }

// index is what a segment has, in memory: of the one that is written, and of others until
// their footer is written.
type index struct {
	streams map[Stream][]entry // each in order of the numbers
	blobs   map[BlobID]span
	entries int
}

func newIndex() *index { return &index{streams: map[Stream][]entry{}, blobs: map[BlobID]span{}} }

func (x *index) add(s Stream, e entry) {
	list := x.streams[s]
	x.entries++
	if n := len(list); n > 0 && list[n-1].number > e.number {
		i, _ := slices.BinarySearchFunc(list, e.number+1, func(e entry, n uint64) int { return order(e.number, n) })
		x.streams[s] = slices.Insert(list, i, e)
		return
	}
	x.streams[s] = append(list, e)
}

func order(a, b uint64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// run are the entries of a stream in a segment, in order of their numbers: in memory, or as a
// part of a footer.
type run struct {
	mem []entry
	raw []byte
}

func (r run) len() int { return len(r.mem) + len(r.raw)/entrySize }

func (r run) at(i int) entry {
	if r.raw == nil {
		return r.mem[i]
	}
	b := r.raw[i*entrySize:]
	return entry{
		number: binary.LittleEndian.Uint64(b),
		offset: binary.LittleEndian.Uint32(b[8:]),
		length: binary.LittleEndian.Uint32(b[12:]),
		id:     binary.LittleEndian.Uint32(b[16:]),
		size:   binary.LittleEndian.Uint32(b[20:]),
	}
}

// above is the index of the first entry whose number is n or higher.
func (r run) above(n uint64) int {
	low, high := 0, r.len()
	for low < high {
		mid := (low + high) / 2
		if r.at(mid).number < n {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// A footer stands at the end of the file of a segment that is not written any more:
//
//	directory  for each stream, in their order: stream (12), first entry (4), entries (4)
//	entries    of the streams in that order, each as in run.at
//	blobs      in their order: BlobID (16), offset (4), length (4)
//	trailer    trailerSize bytes, see trailer.encode
const (
	directorySize = 20
	blobSize      = 24
	trailerSize   = 96
)

var trailerMagic = [8]byte{'G', 'H', 'S', 'E', 'G', 'F', 'T', '1'}

// trailer sums a segment up.
type trailer struct {
	salt                    Salt
	segment                 uint64
	min, max                uint64 // of the numbers of its records
	records                 uint32 // how many were ever written to it: above all numbers within it
	streams, entries, blobs uint32
	end                     uint32 // where its frames end and its footer begins
	sum                     uint32 // CRC-32C of the footer without the trailer
	holes                   uint32 // places between the frames where something does not verify, as is known already
}

func (t *trailer) encode() []byte {
	b := append(append(make([]byte, 0, trailerSize), trailerMagic[:]...), t.salt[:]...)
	for _, v := range [...]uint64{t.segment, t.min, t.max} {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	for _, v := range [...]uint32{t.records, t.streams, t.entries, t.blobs, t.end, t.sum, t.holes} {
		b = binary.LittleEndian.AppendUint32(b, v)
	}
	b = append(b, make([]byte, trailerSize-4-len(b))...)
	return binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli()))
}

func parseTrailer(b []byte) (t trailer, ok bool) {
	if len(b) != trailerSize || !bytes.Equal(b[:8], trailerMagic[:]) ||
		crc32.Checksum(b[:trailerSize-4], castagnoli()) != binary.LittleEndian.Uint32(b[trailerSize-4:]) {
		return t, false
	}
	copy(t.salt[:], b[8:])
	for i, p := range [...]*uint64{&t.segment, &t.min, &t.max} {
		*p = binary.LittleEndian.Uint64(b[16+8*i:])
	}
	for i, p := range [...]*uint32{&t.records, &t.streams, &t.entries, &t.blobs, &t.end, &t.sum, &t.holes} {
		*p = binary.LittleEndian.Uint32(b[40+4*i:])
	}
	return t, true
}

// take takes over what changes when a footer is written. Number and salt never do, and are read without
// the lock.
func (t *trailer) take(n trailer) {
	t.min, t.max, t.end, t.sum, t.holes = n.min, n.max, n.end, n.sum, n.holes
	t.streams, t.entries, t.blobs = n.streams, n.entries, n.blobs
}

// footerLength is the size of the footer without the trailer.
func (t *trailer) footerLength() int64 {
	return int64(t.streams)*directorySize + int64(t.entries)*entrySize + int64(t.blobs)*blobSize
}

// footer makes the footer of a segment, and fills what t says of it.
func (x *index) footer(t *trailer) []byte {
	streams := make([]Stream, 0, len(x.streams))
	for s := range x.streams {
		streams = append(streams, s)
	}
	slices.SortFunc(streams, func(a, b Stream) int { return bytes.Compare(a[:], b[:]) })
	t.streams, t.entries, t.blobs = uint32(len(streams)), uint32(x.entries), uint32(len(x.blobs)) //nolint:gosec // of one file
	out := make([]byte, 0, t.footerLength()+trailerSize)
	first := 0
	for _, s := range streams {
		out = append(out, s[:]...)
		out = binary.LittleEndian.AppendUint32(out, uint32(first)) //nolint:gosec // of one file
		out = binary.LittleEndian.AppendUint32(out, uint32(len(x.streams[s])))
		first += len(x.streams[s])
	}
	for _, s := range streams {
		for _, e := range x.streams[s] {
			out = binary.LittleEndian.AppendUint64(out, e.number)
			for _, v := range [...]uint32{e.offset, e.length, e.id, e.size} {
				out = binary.LittleEndian.AppendUint32(out, v)
			}
		}
	}
	blobs := make([]BlobID, 0, len(x.blobs))
	for id := range x.blobs {
		blobs = append(blobs, id)
	}
	slices.SortFunc(blobs, func(a, b BlobID) int { return bytes.Compare(a[:], b[:]) })
	for _, id := range blobs {
		out = append(out, id[:]...)
		out = binary.LittleEndian.AppendUint32(out, x.blobs[id].offset)
		out = binary.LittleEndian.AppendUint32(out, x.blobs[id].length)
	}
	t.sum = crc32.Checksum(out, castagnoli())
	return append(out, t.encode()...)
}

// footer is a footer in memory, as it is in the file, without its trailer.
type footer struct {
	raw []byte
	trailer
}

func (f *footer) directory(i int) []byte { return f.raw[i*directorySize : (i+1)*directorySize] }

func (f *footer) runOf(entry []byte) run {
	at := int(f.streams)*directorySize + int(binary.LittleEndian.Uint32(entry[12:]))*entrySize
	return run{raw: f.raw[at : at+int(binary.LittleEndian.Uint32(entry[16:]))*entrySize]}
}

// sound tells whether the directory leads to entries only; the checksum says it is what was
// written, and this that it was written well.
func (f *footer) sound() bool {
	next := uint32(0)
	for i := range int(f.streams) {
		e := f.directory(i)
		if binary.LittleEndian.Uint32(e[12:]) != next {
			return false
		}
		next += binary.LittleEndian.Uint32(e[16:])
	}
	return next == f.entries
}

// find is the index of the first of n sorted keys of size bytes in b that is not below key.
func find(b []byte, n, size int, key []byte) int {
	low, high := 0, n
	for low < high {
		mid := (low + high) / 2
		if bytes.Compare(b[mid*size:mid*size+len(key)], key) < 0 {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

func (f *footer) of(s Stream) run {
	i := find(f.raw, int(f.streams), directorySize, s[:])
	if i == int(f.streams) || !bytes.Equal(f.directory(i)[:len(s)], s[:]) {
		return run{}
	}
	return f.runOf(f.directory(i))
}

func (f *footer) blob(id BlobID) (span, bool) {
	b := f.raw[len(f.raw)-int(f.blobs)*blobSize:]
	i := find(b, int(f.blobs), blobSize, id[:])
	if i == int(f.blobs) || !bytes.Equal(b[i*blobSize:i*blobSize+len(id)], id[:]) {
		return span{}, false
	}
	b = b[i*blobSize+len(id):]
	return span{binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])}, true
}

// each yields every stream and its entries.
func (f *footer) each(yield func(Stream, run)) {
	for i := range int(f.streams) {
		var s Stream
		copy(s[:], f.directory(i))
		yield(s, f.runOf(f.directory(i)))
	}
}

func (x *index) each(yield func(Stream, run)) {
	for s, list := range x.streams {
		yield(s, run{mem: list})
	}
}
