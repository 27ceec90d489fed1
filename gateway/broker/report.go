package broker

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Report is what a Recheck found and took.
type Report struct {
	Sessions      int // sessions that were rechecked
	Disconnected  int // sessions that lost the right to be connected
	Suspended     int // subscriptions that lost their right
	Resumed       int // suspended subscriptions that have their right again
	Cut           int // encoded messages taken out before the kernel had them
	Closed        int // connections closed because such a message was half written
	WillsDropped  int
	RetainedHeld  int // retained messages whose publisher may not publish there now
	Took          time.Duration
	ConfirmedAt   time.Time
	WaitedWriters int // connections whose writer had to be waited for
}

// SessionInfo describes one session for status pages and administration.
type SessionInfo struct {
	Key            string
	Principal      *principal.Principal
	ClientID       string
	Version        byte
	Connected      bool
	Listener       string
	Remote         string
	Since          time.Time // since when it has been connected or disconnected
	Subscriptions  int
	Suspended      int
	Received       uint64 // publishes of the client, since the session was opened or loaded
	Sent           uint64 // messages given to its connection
	Denied         uint64 // publishes and subscriptions refused to it
	TakeOvers      uint64 // times that a newer connection took it from a live one
	Inflight       int
	Queued         int
	QueuedBytes    int
	LostOldest     uint64 // deliveries dropped from its queue to make way for later ones, since the session was opened or loaded
	LostNewest     uint64 // deliveries that found the queue full
	Overflowing    bool   // it loses deliveries at the moment
	Persistent     bool
	CredentialEnds time.Time
}

// SessionOverflow is a session that loses deliveries for want of capacity.
type SessionOverflow struct {
	Key       string
	Principal string // its key
	ClientID  string
	Connected bool
	Since     time.Time
	Lost      uint64 // since then
}

func (o SessionOverflow) String() string {
	state := "away"
	if o.Connected {
		state = "connected"
	}
	return fmt.Sprintf("client %q of %s (%s, %d lost)", o.ClientID, o.Principal, state, o.Lost)
}

// Stats are totals since the start, except for the first block, which has current values.
type Stats struct {
	Connections, Pending, Sessions, Subscriptions int
	Waiting, Contested                            int // connections that wait for a contested session, and such sessions
	Retained                                      int
	RetainedBytes, QueuedBytes                    int64
	Queued                                        int // deliveries that wait or are unacknowledged

	Accepted, AcceptErrors, RefusedEarly uint64            // connections
	TurnedAway                           map[string]uint64 // connections refused early, or closed to make room, by reason
	Connects, ConnectsRefused            uint64            // CONNECTs
	TakeOvers                            uint64            // sessions that a newer connection took from a live one
	Received, Delivered, Denied          uint64            // application messages; Denied is of publishes and deliveries
	Refused                              uint64            // publishes among Received that were denied, or allowed and not kept
	Malformed                            uint64            // connections lost for a frame that breaks the protocol or a limit
	BytesIn, BytesOut                    uint64            // on the wire, below TLS
	Dropped                              map[string]uint64 // by reason
	Panics                               uint64
	Tripwire                             uint64 // how often mochi touched a message, which must never happen
}
