package seglog

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// kind says what a frame is.
type kind byte

const (
	kindGroup     kind = 1 + iota // begins each write; body: the offset up to which the file was synced before it (4)
	kindRecord                    // see appendRecord
	kindBlob                      // body: BlobID (16), content
	kindRemoval                   // see appendRemovals
	kindForgotten                 // body: an origin (8) that needs no attention any more
	kinds
)

// A frame is a header of headerSize bytes and a body, in little-endian order:
//
//	2  magic
//	2  check: the lower half of the CRC-32C of magic, kind and length
//	1  kind
//	3  length of the body
//	4  CRC-32C of the bytes before and of the body
//	n  body
//
// Both checksums begin with the seed of the segment. The check lets a search for the next
// frame pass over what only looks like one without reading its body.
const (
	headerSize = 12
	maxBody    = 1<<24 - 1
)

var magic = [2]byte{0xC6, 0xA5}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // the runtime keeps one

// Salt is made by chance once for a log. It is in the seed of all checksums, so that nobody
// who can only write payloads can write a frame into one.
type Salt [8]byte

// seedOf is what the checksums of a segment begin with: a frame of another segment, or of
// another log, does not verify.
func seedOf(salt Salt, segment uint64) uint32 {
	b := binary.LittleEndian.AppendUint64(salt[:], segment)
	return crc32.Checksum(b, castagnoli())
}

func checkOf(seed uint32, k kind, length int) uint16 {
	b := [6]byte{magic[0], magic[1], byte(k), byte(length), byte(length >> 8), byte(length >> 16)}
	return uint16(crc32.Update(seed, castagnoli(), b[:])) //nolint:gosec // the lower half
}

// beginFrame makes room for the header; finishFrame fills it once the body is appended.
func beginFrame(b []byte) ([]byte, int) { return append(b, make([]byte, headerSize)...), len(b) }

func finishFrame(b []byte, start int, seed uint32, k kind) []byte {
	h := b[start:]
	n := len(h) - headerSize
	copy(h, magic[:])
	binary.LittleEndian.PutUint16(h[2:], checkOf(seed, k, n))
	h[4], h[5], h[6], h[7] = byte(k), byte(n), byte(n>>8), byte(n>>16)
	binary.LittleEndian.PutUint32(h[8:], sumOf(seed, h))
	return b
}

// sumOf is the checksum of a frame.
func sumOf(seed uint32, frame []byte) uint32 {
	return crc32.Update(crc32.Update(seed, castagnoli(), frame[:8]), castagnoli(), frame[headerSize:])
}

// frameAt returns the frame with which b begins; ok is false if none does that verifies.
func frameAt(b []byte, seed uint32) (k kind, body []byte, ok bool) {
	if len(b) < headerSize || b[0] != magic[0] || b[1] != magic[1] {
		return 0, nil, false
	}
	k = kind(b[4])
	n := int(b[5]) | int(b[6])<<8 | int(b[7])<<16
	if k == 0 || k >= kinds || len(b) < headerSize+n || binary.LittleEndian.Uint16(b[2:]) != checkOf(seed, k, n) {
		return 0, nil, false
	}
	b = b[:headerSize+n]
	if binary.LittleEndian.Uint32(b[8:]) != sumOf(seed, b) {
		return 0, nil, false
	}
	return k, b[headerSize:], true
}

// findFrame is the offset of the first frame at or behind from that verifies; -1: there is none.
func findFrame(b []byte, from int, seed uint32) int {
	for from < len(b) {
		i := bytes.Index(b[from:], magic[:])
		if i < 0 {
			return -1
		}
		if _, _, ok := frameAt(b[from+i:], seed); ok {
			return from + i
		}
		from += i + 1
	}
	return -1
}

// recordHead is the part of a record's body before its origin and payload:
//
//	4   number of the record within its segment
//	12  stream
//	8   number within the stream
//	4   size, as quotas count
//	16  blob
//	    origin (uvarint)
//	    payload
const recordHead = 4 + 12 + 8 + 4 + 16

func appendRecord(b []byte, seed, id uint32, r *Record) []byte {
	b, start := beginFrame(b)
	b = binary.LittleEndian.AppendUint32(b, id)
	b = append(b, r.Stream[:]...)
	b = binary.LittleEndian.AppendUint64(b, r.Number)
	b = binary.LittleEndian.AppendUint32(b, r.Size)
	b = append(b, r.Blob[:]...)
	b = binary.AppendUvarint(b, r.Origin)
	b = append(b, r.Payload...)
	return finishFrame(b, start, seed, kindRecord)
}

// parseRecord reads the body of a record. The payload is a part of it.
func parseRecord(body []byte) (id uint32, r Record, ok bool) {
	if len(body) <= recordHead {
		return 0, r, false
	}
	id = binary.LittleEndian.Uint32(body)
	copy(r.Stream[:], body[4:])
	r.Number = binary.LittleEndian.Uint64(body[16:])
	r.Size = binary.LittleEndian.Uint32(body[24:])
	copy(r.Blob[:], body[28:])
	origin, n := binary.Uvarint(body[recordHead:])
	if n <= 0 {
		return 0, r, false
	}
	r.Origin = origin
	r.Payload = body[recordHead+n:]
	return id, r, true
}

func appendBlob(b []byte, seed uint32, id BlobID, content []byte) []byte {
	b, start := beginFrame(b)
	b = append(append(b, id[:]...), content...)
	return finishFrame(b, start, seed, kindBlob)
}

func appendGroup(b []byte, seed, synced uint32) []byte {
	b, start := beginFrame(b)
	return finishFrame(binary.LittleEndian.AppendUint32(b, synced), start, seed, kindGroup)
}

func appendForgotten(b []byte, seed uint32, origin uint64) []byte {
	b, start := beginFrame(b)
	return finishFrame(binary.LittleEndian.AppendUint64(b, origin), start, seed, kindForgotten)
}

// place is a record's place: its segment, and its number within it.
type place struct {
	segment uint64
	id      uint32
}

// perRemovalFrame bounds the body of a removal.
const perRemovalFrame = 4096

// appendRemovals appends the frames that say that records are removed. The body is a list of
// pairs of uvarints: segment, number within it.
func appendRemovals(b []byte, seed uint32, list []place) []byte {
	for len(list) > 0 {
		n := min(len(list), perRemovalFrame)
		var start int
		b, start = beginFrame(b)
		for _, p := range list[:n] {
			b = binary.AppendUvarint(b, p.segment)
			b = binary.AppendUvarint(b, uint64(p.id))
		}
		b = finishFrame(b, start, seed, kindRemoval)
		list = list[n:]
	}
	return b
}

func parseRemovals(body []byte, yield func(place)) {
	for len(body) > 0 {
		segment, n := binary.Uvarint(body)
		if n <= 0 {
			return
		}
		id, m := binary.Uvarint(body[n:])
		if m <= 0 {
			return
		}
		body = body[n+m:]
		yield(place{segment, uint32(id)}) //nolint:gosec // written from an uint32
	}
}
