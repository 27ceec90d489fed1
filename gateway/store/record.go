package store

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// schema is the newest layout of the records that this release knows; it does not touch a
// store with a newer one. In schemaFlat the head counts every record. In schemaSums it leaves
// out those of the outbox, of which other records, counted by the head, kept sums by stream. In
// schemaLog the outbox is not in the directory (takeOver moves it out).
const (
	schemaFlat = 1
	schemaSums = 2
	schemaLog  = 3
	schema     = schemaLog
)

// headKey sorts before every namespace.
const headKey = "\x00head"

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) } // the runtime keeps one

// frame makes the stored form of a value: CRC-32C over key and value, then the value.
func frame(key string, value []byte) []byte {
	b := make([]byte, 4+len(value))
	copy(b[4:], value)
	crc := crc32.Update(0, castagnoli(), []byte(key))
	binary.BigEndian.PutUint32(b, crc32.Update(crc, castagnoli(), value))
	return b
}

func unframe[K string | []byte](key K, b []byte) ([]byte, error) {
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: record %x is cut short", ErrCorrupt, key)
	}
	crc := crc32.Update(0, castagnoli(), []byte(key))
	if crc32.Update(crc, castagnoli(), b[4:]) != binary.BigEndian.Uint32(b) {
		return nil, fmt.Errorf("%w: record %x has a wrong CRC", ErrCorrupt, key)
	}
	return b[4:], nil
}

// summaryOf is the summary of a record in its stored form.
func summaryOf[K string | []byte](key K, raw []byte) summary {
	return summary{sum: digestOf(string(key), raw), size: uint32(len(key) + len(raw) - 4 + 64)}
}

// digestOf is what a record adds to the digest of the head.
//
// For outbox records, which the first layout counted too, it is made of the CRC that the
// record carries, mixed with its number.
func digestOf(key string, raw []byte) sum {
	if !isBox(key) {
		return sumOf(key, raw[4:])
	}
	v := mix(boxSeq(key) ^ mix(uint64(binary.BigEndian.Uint32(raw))|uint64(len(raw))<<32))
	return sum{v, mix(v + 1)}
}

// mix is the finalizer of splitmix64: each bit of v changes each bit of the
// result with a probability of one half.
func mix(v uint64) uint64 {
	v = (v ^ v>>30) * 0xbf58476d1ce4e5b9
	v = (v ^ v>>27) * 0x94d049bb133111eb
	return v ^ v>>31
}

// sum is an order-free digest: hashes of records are added lane by lane, so a
// record can enter and leave without the others being read.
type sum [2]uint64

func sumOf(key string, value []byte) sum {
	h := sha256.New()
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(key)))
	_, _ = h.Write(n[:])
	_, _ = h.Write([]byte(key))
	_, _ = h.Write(value)
	var out [sha256.Size]byte
	d := h.Sum(out[:0])
	return sum{binary.BigEndian.Uint64(d), binary.BigEndian.Uint64(d[8:])}
}

func (s sum) plus(t sum) sum  { return sum{s[0] + t[0], s[1] + t[1]} }
func (s sum) minus(t sum) sum { return sum{s[0] - t[0], s[1] - t[1]} }

// head is the record that says how many records the directory has and what their
// digest is.
type head struct {
	schema uint32
	seq    uint64 // number of commits
	count  uint64 // live records, the head not counted
	digest sum
}

func (h head) encode() []byte {
	b := binary.BigEndian.AppendUint32(nil, h.schema)
	for _, v := range [...]uint64{h.seq, h.count, h.digest[0], h.digest[1]} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeHead(b []byte) (head, error) {
	if len(b) != 36 {
		return head{}, fmt.Errorf("%w: head of %d bytes", ErrCorrupt, len(b))
	}
	v := func(i int) uint64 { return binary.BigEndian.Uint64(b[4+8*i:]) }
	return head{binary.BigEndian.Uint32(b), v(0), v(1), sum{v(2), v(3)}}, nil
}
