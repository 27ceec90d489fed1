package message

import (
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Refused is the error for a message that was not accepted; nothing of it is kept. Code is the
// MQTT 5 reason code for the publisher.
type Refused struct {
	Code   byte
	Reason string // "outbox-full", "disk-full", "store-failed", …
}

func (r *Refused) Error() string { return fmt.Sprintf("%s (0x%02x)", r.Reason, r.Code) }

// Passing reports whether the same message may be accepted later: a queue or a disk was full,
// or a part of the gateway was not ready.
func (r *Refused) Passing() bool { return Passing(r.Code) }

// Passing reports whether the reason code refuses a message only for now.
func Passing(code byte) bool {
	switch code {
	case QuotaExceeded, ServerBusy, ServerUnavailable, ImplementationSpecificError, UnspecifiedError, MessageRateTooHigh:
		return true
	}
	return false
}

// Final reports whether the sender of a message may forget it: it was accepted (err is nil), or
// refused for good (a Refused that does not pass). Any other error leaves open what became of
// the message.
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

// StoredSession is the part of a session that survives a restart: enough to resume it and to
// decide everything in it again.
type StoredSession struct {
	Key       string // unique: principal key and client id
	ClientID  string
	Principal *principal.Principal // the owner, with its identity set
	Version   byte                 // MQTT protocol level
	Expiry    time.Duration        // session expiry interval; negative: never
	// DisconnectedAt is when the session lost its connection; zero while it is connected. After a
	// crash it is the time of the restart.
	DisconnectedAt time.Time
	Subscriptions  []Subscription
	// InboundQoS2 holds the packet ids for which PUBREC was sent and PUBREL has not arrived. It is
	// stored separately, because it changes with every QoS 2 publish.
	InboundQoS2 []uint16
}

// StoredDelivery is one message of a session's queue, in order of Seq.
type StoredDelivery struct {
	Seq     uint64
	Message *Message
	QoS     byte // granted QoS of this delivery
	Retain  bool // retain flag of this delivery
	SubIDs  []uint32
	// PacketID is not zero once the message has been sent and until it is acknowledged. Released
	// is true once its PUBREC has arrived.
	PacketID uint16
	Released bool
}

// StoredWill is a client's will message, kept from its CONNECT until it is published or
// discarded.
type StoredWill struct {
	ID        uint64               // of the connection; later connections have higher ones, also after a restart
	Session   string               // StoredSession.Key
	Principal *principal.Principal // who left it, with its identity set
	Topic     string
	Payload   []byte
	QoS       byte
	Retain    bool
	Props     Properties
	Expiry    time.Duration // message expiry interval, counted from when the will is published
	Expires   bool          // whether there is an Expiry, which may be 0
	Delay     time.Duration
}

// Wait lets a publish wait that finds the outbox or its disk full, because its sender
// cannot be told: PUBACK of MQTT 3.1.1 has no reason code, and a PUBREC that refuses ends
// the QoS 2 exchange, after which a repetition would reach local receivers again. Its
// acknowledgement is withheld meanwhile.
//
// The outbox calls both functions with a lock held: they must not block, nor call the outbox.
type Wait struct {
	// Begun is called once, if the publish has to wait.
	Begun func()
	// Still is called before the outbox takes a publish that has waited. A code other than
	// Success gives it up: nobody waits for the acknowledgement any more, or the right to
	// publish was lost.
	Still func() (code byte)
}

// MaxWithheld is how many bytes of messages of one publisher may wait in this way before
// the publisher is not read any more.
const MaxWithheld = 256 << 10
