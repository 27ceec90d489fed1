package seglog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
)

var errDamaged = errors.New("the footer is damaged")

// readFooter reads the footer that the trailer describes.
func readFooter(f io.ReaderAt, t trailer) (footer, error) {
	x := footer{raw: make([]byte, t.footerLength()), trailer: t}
	if n, err := f.ReadAt(x.raw, int64(t.end)); n < len(x.raw) {
		return footer{}, fmt.Errorf("footer of segment %d: %w", t.segment, err)
	}
	if crc32.Checksum(x.raw, castagnoli()) != t.sum || !x.sound() {
		return footer{}, fmt.Errorf("segment %d: %w", t.segment, errDamaged)
	}
	return x, nil
}

// findFooter reads trailer and footer at the end of a file.
func findFooter(f io.ReaderAt, size int64, number uint64) (footer, bool) {
	b := make([]byte, trailerSize)
	if size < segmentHeader+trailerSize {
		return footer{}, false
	}
	if n, _ := f.ReadAt(b, size-trailerSize); n < len(b) {
		return footer{}, false
	}
	t, ok := parseTrailer(b)
	if !ok || t.segment != number || int64(t.end)+t.footerLength()+trailerSize != size {
		return footer{}, false
	}
	x, err := readFooter(f, t)
	return x, err == nil
}

// preface is what the header of a segment says.
type preface struct {
	salt         Salt
	end, records uint32 // of the segment before it; 0: not known
}

func parseHeader(b []byte, number uint64) (p preface, ok bool) {
	if len(b) < segmentHeader || !bytes.Equal(b[:8], segmentMagic[:]) || binary.LittleEndian.Uint64(b[16:]) != number ||
		crc32.Checksum(b[:32], castagnoli()) != binary.LittleEndian.Uint32(b[32:]) {
		return p, false
	}
	copy(p.salt[:], b[8:])
	p.end, p.records = binary.LittleEndian.Uint32(b[24:]), binary.LittleEndian.Uint32(b[28:])
	return p, true
}

// readAll reads a file of at most limit bytes. Blocks that the disk does not give back are zero.
func readAll(f io.ReaderAt, size int64) (b []byte, unreadable int) {
	const block = 4096
	b = make([]byte, size)
	for at := int64(0); at < size; {
		n, err := f.ReadAt(b[at:min(at+1<<20, size)], at)
		at += int64(n)
		if err == nil || at >= size {
			continue
		}
		if errors.Is(err, io.EOF) {
			break
		}
		next := min((at/block+1)*block, size)
		n, _ = f.ReadAt(b[at:next], at)
		unreadable += int(next-at) - n
		at = next
	}
	return b, unreadable
}

// found is what a scan found in a segment.
type found struct {
	index     *index
	min, max  uint64
	records   uint32 // one more than the highest number of a record in the segment
	firm      uint32 // the same, without what need not have been synced
	end       int64  // behind the last frame that counts
	removals  []place
	origins   []uint64 // of records
	forgotten []uint64
	seen      []uint64 // a bit for each record
	holes     int      // places where something does not verify that was synced, with frames behind it
	torn      int      // places where something does not verify that need not have been synced
}

// scan reads the frames of b, a segment's file, from an offset on, in their order, and passes
// over what does not verify. last: nothing was written after this segment, so what was not
// synced may be torn.
func scan(b []byte, seed uint32, from int, last bool) found {
	x := found{index: newIndex(), min: ^uint64(0), end: int64(from)}
	synced := from // up to where the file was synced, by what the frames say
	if !last {
		synced = len(b)
	}
	type hole struct {
		at      int
		records uint32 // before it
	}
	var holes []hole
	for at := from; at < len(b); {
		k, body, ok := frameAt(b[at:], seed)
		if !ok {
			next := findFrame(b, at+1, seed)
			if next < 0 {
				break
			}
			holes = append(holes, hole{at, x.records})
			at = next
			continue
		}
		if k == kindGroup && len(body) == 4 {
			synced = max(synced, int(binary.LittleEndian.Uint32(body)))
		}
		x.take(at, k, body)
		at += headerSize + len(body)
	}
	x.firm = x.records
	for _, h := range holes {
		if h.at < synced {
			x.holes++
			continue
		}
		x.torn++
		x.firm = min(x.firm, h.records)
	}
	return x
}

// take notes what a frame says.
func (x *found) take(at int, k kind, body []byte) {
	length := headerSize + len(body)
	x.end = int64(at + length)
	switch k {
	case kindRecord:
		id, r, ok := parseRecord(body)
		if !ok || !x.first(id) {
			return
		}
		x.index.add(r.Stream, entry{
			number: r.Number,
			offset: uint32(at),     //nolint:gosec // within a segment
			length: uint32(length), //nolint:gosec // within a segment
			id:     id,
			size:   r.Size,
		})
		x.min, x.max, x.records = min(x.min, r.Number), max(x.max, r.Number), max(x.records, id+1)
		if r.Origin != 0 {
			x.origins = append(x.origins, r.Origin)
		}
	case kindBlob:
		if len(body) >= len(BlobID{}) {
			x.index.blobs[BlobID(body[:16])] = span{uint32(at), uint32(length)} //nolint:gosec // within a segment
		}
	case kindRemoval:
		parseRemovals(body, func(p place) { x.removals = append(x.removals, p) })
	case kindForgotten:
		if len(body) == 8 {
			o := binary.LittleEndian.Uint64(body)
			x.forgotten = append(x.forgotten, o)
			for i, known := range x.origins {
				if known == o {
					x.origins = append(x.origins[:i], x.origins[i+1:]...)
					break
				}
			}
		}
	}
}

// first tells whether a record was not seen before: a part of the file may be there twice.
func (x *found) first(id uint32) bool {
	if need := int(id/64) + 1; len(x.seen) < need {
		if need > 1<<20 { // no segment has so many
			return false
		}
		x.seen = append(x.seen, make([]uint64, need-len(x.seen))...)
	}
	was := x.seen[id/64]&(1<<(id%64)) != 0
	x.seen[id/64] |= 1 << (id % 64)
	return !was
}
