package load

import (
	"encoding/binary"
	"time"
)

// StampSize is the smallest payload: what a message needs to be accounted for.
const StampSize = 24

const magic = 0x47484231 // "GHB1"

// stamp is the head of every payload, big endian in this order after the magic number.
type stamp struct {
	run       uint32 // chosen at random for each run
	publisher uint32 // its place in the run
	seq       uint32 // from 0, for each publisher
	at        int64  // nanoseconds since 1970: sent, or due when there is a rate
}

func (s stamp) put(b []byte) {
	binary.BigEndian.PutUint32(b, magic)
	binary.BigEndian.PutUint32(b[4:], s.run)
	binary.BigEndian.PutUint32(b[8:], s.publisher)
	binary.BigEndian.PutUint32(b[12:], s.seq)
	binary.BigEndian.PutUint64(b[16:], uint64(s.at))
}

// parseStamp reads the head of a payload; false: it is nobody's from here.
func parseStamp(b []byte) (stamp, bool) {
	if len(b) < StampSize || binary.BigEndian.Uint32(b) != magic {
		return stamp{}, false
	}
	return stamp{
		run:       binary.BigEndian.Uint32(b[4:]),
		publisher: binary.BigEndian.Uint32(b[8:]),
		seq:       binary.BigEndian.Uint32(b[12:]),
		at:        int64(binary.BigEndian.Uint64(b[16:])),
	}, true
}

var began = time.Now()

// now is the time in nanoseconds since 1970. It advances with the monotonic
// clock, so that a step of the system's clock does not become a latency.
func now() int64 { return began.UnixNano() + int64(time.Since(began)) }
