package message

import (
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Refused is the error of a message that was not taken: nothing of it is
// kept. Code is the MQTT 5 reason code for the publisher.
type Refused struct {
	Code   byte
	Reason string // "outbox-full", "disk-full", "store-failed", …
}

func (r *Refused) Error() string { return fmt.Sprintf("%s (0x%02x)", r.Reason, r.Code) }

// Passing tells whether the same message may be taken another time: a queue or
// a disk was full, a part was not there.
func (r *Refused) Passing() bool { return Passing(r.Code) }

// Passing tells whether a reason code refuses a message for now only.
func Passing(code byte) bool {
	switch code {
	case QuotaExceeded, ServerBusy, ServerUnavailable, ImplementationSpecificError, UnspecifiedError, MessageRateTooHigh:
		return true
	}
	return false
}

// Final tells whether err is the last word on a message, so that its sender may
// forget it: nil, because it was taken, or a Refused that does not pass. Any other
// error says nothing about what became of the message.
func Final(err error) bool {
	var r *Refused
	return err == nil || errors.As(err, &r) && !r.Passing()
}

// Subscription is one subscription of a session.
type Subscription struct {
	Filter            string // as the client wrote it, $share included
	QoS               byte
	NoLocal           bool
	RetainAsPublished bool
	RetainHandling    byte
	ID                uint32 // subscription identifier, 0: none
}

// StoredSession is what survives of a session: enough to resume it, and to
// decide everything in it again.
type StoredSession struct {
	Key       string // unique: principal key and client id
	ClientID  string
	Principal *principal.Principal // the owner, with its identity set
	Version   byte                 // MQTT protocol level
	Expiry    time.Duration        // session expiry interval; negative: never
	// DisconnectedAt is when it lost its connection; zero while connected
	// (after a crash: the time of the restart counts).
	DisconnectedAt time.Time
	Subscriptions  []Subscription
	// InboundQoS2 holds the packet ids received (PUBREC sent) and not yet
	// released. It changes with every QoS 2 publish and is kept apart.
	InboundQoS2 []uint16
}

// StoredDelivery is one message of a session's queue, in order of Seq.
type StoredDelivery struct {
	Seq     uint64
	Message *Message
	QoS     byte // granted QoS of this delivery
	Retain  bool // retain flag of this delivery
	SubIDs  []uint32
	// PacketID is non-zero once it has been sent and is unacknowledged;
	// Released once its PUBREC has been received.
	PacketID uint16
	Released bool
}

// StoredWill is what a client leaves behind, from its CONNECT until it has been
// sent or is void.
type StoredWill struct {
	ID        uint64               // of the connection; rises, also across restarts
	Session   string               // its key
	Principal *principal.Principal // who left it, with its identity set
	Topic     string
	Payload   []byte
	QoS       byte
	Retain    bool
	Props     Properties
	Expiry    time.Duration // message expiry interval, once it is sent
	Expires   bool          // whether there is one; it may be 0
	Delay     time.Duration
}
