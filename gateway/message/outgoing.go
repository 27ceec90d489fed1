package message

import (
	"crypto/sha256"
	"time"
)

// StreamID names a stream of the outbox: the messages of one device (or, without
// a device, of one publisher) that one route takes, in the order in which they
// were accepted.
type StreamID [12]byte

// Source is whose messages keep their order among each other, and whom quotas
// count by: the device in whose name m was published, else its publisher.
func (m *Message) Source() string {
	switch {
	case m.Via.Device != "":
		return m.Via.Device
	case m.Publisher != nil:
		return "key " + m.Publisher.Key
	}
	return ""
}

// StreamOf is the stream of m by the route of that name.
func StreamOf(m *Message, route string) (id StreamID) {
	h := sha256.New()
	_, _ = h.Write([]byte(m.Source()))
	_, _ = h.Write([]byte{0}) // in no device id, and in no UTF-8 string of MQTT
	_, _ = h.Write([]byte(route))
	copy(id[:], h.Sum(nil))
	return id
}

// OutgoingSize is what quotas count for m when it waits for that upstream topic,
// in bytes: with what its record takes beside it.
func OutgoingSize(m *Message, topic string) int64 { return m.Size() + int64(len(topic)) + 128 }

// StoredOutgoing is a message that waits to go upstream.
type StoredOutgoing struct {
	Stream StreamID
	// Seq rises with acceptance over all streams, and is given once.
	Seq uint64
	// Size is what quotas count, in bytes.
	Size int64
	// Route is the name of the route that took it; Topic the upstream topic.
	Route, Topic string
	// Message is nil if the record is there and cannot be read.
	Message *Message
}

// StoredStream sums up what is stored of a stream. With Count 0 nothing can be read
// of it, and its numbers up to Last are taken.
type StoredStream struct {
	ID    StreamID
	Count int
	Bytes int64  // sum of StoredOutgoing.Size
	Last  uint64 // its highest Seq
}

// StoredParked is a message that upstream does not take, set aside so that the
// later ones of its device go on.
type StoredParked struct {
	StoredOutgoing
	At     time.Time // when it was parked
	Reason string    // why, for an operator
}
