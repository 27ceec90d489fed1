package broker

import (
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// Kind is the transport of a listener, below MQTT.
type Kind uint8

// The kinds of listener. With Unix the kernel is asked for the uid of the client.
const (
	MQTT Kind = iota
	WebSocket
	Unix
)

// Denied says what happens to a 3.1.1 client whose PUBLISH is refused
// (docs/spec/semantics.md 3.11): MQTT 5 clients always get the reason code on the ack.
type Denied uint8

// Disconnect closes the connection. Ignore acknowledges the message and drops it: the promise that
// nothing acknowledged is lost does not hold for such a client.
const (
	Disconnect Denied = iota
	Ignore
)

// Listener is one socket for clients. The net.Listener may have been passed by systemd; the
// broker closes it when Run ends.
type Listener struct {
	Name     string
	Listener net.Listener
	Kind     Kind
	// TLS, if set, is used on every connection. The Authenticator gets client
	// certificates with the connection state and has to verify them, unless this
	// configuration does.
	TLS             *tls.Config
	OnDeniedPublish Denied
	// Filtered accepts topic filters that are wider than the client's rights. The client
	// still gets only what it may read, because each delivery is decided in any case
	// (docs/spec/semantics.md 3.7).
	Filtered bool
	// Origins are patterns for the hosts in the Origin header from which a browser may
	// connect. Without any, only requests without Origin or from the same host are accepted.
	Origins []string
	// Path is one more URL path of a WebSocket listener, beside /mqtt and
	// IoT Hub's; "": none.
	Path   string
	Limits Limits
}

// Limits bound what a client that is not authenticated can take up. A field that is zero has
// its default.
type Limits struct {
	Handshake        time.Duration // TLS and WebSocket handshake, 10 s
	Connect          time.Duration // first byte to complete CONNECT, 10 s
	ConnectPacket    int           // bytes of a CONNECT, 32 KiB
	Pending          int           // connections not yet authenticated, 512; beyond that one makes room for each newcomer
	PerAddress       int           // connections of one address, 1024 (not for Unix)
	PendingAddress   int           // of one address, not yet authenticated, a quarter of Pending, at least 8 (not for Unix)
	Waiting          int           // connections that wait for a contested session (ContestLimits), 256
	WaitingAddress   int           // of one address, a quarter of Waiting, at least 8 (not for Unix)
	RatePerAddress   float64       // new connections a second of one address, 200 (not for Unix)
	KnownAddresses   int           // addresses remembered because their clients proved themselves: half of Pending is theirs, 4096
	MaxConnections   int           // in all on this listener, 65536
	AcceptRetryAfter time.Duration // first pause after a failed accept, 5 ms
}

func (l Limits) withDefaults() Limits {
	def(&l.Handshake, 10*time.Second)
	def(&l.Connect, 10*time.Second)
	def(&l.ConnectPacket, 32<<10)
	def(&l.Pending, 512)
	def(&l.PerAddress, 1024)
	def(&l.PendingAddress, max(8, l.Pending/4))
	def(&l.Waiting, 256)
	def(&l.WaitingAddress, max(8, l.Waiting/4))
	def(&l.RatePerAddress, 200)
	def(&l.KnownAddresses, 4096)
	def(&l.MaxConnections, 65536)
	def(&l.AcceptRetryAfter, 5*time.Millisecond)
	return l
}

// Options make a Broker. Access, Authenticator and Log must be set; without a
// Vault nothing survives a restart, without an Outbox nothing goes upstream,
// without Services requests to the gateway are refused.
type Options struct {
	Listeners     []Listener
	Authenticator Authenticator
	// Now is the time by which credentials end, as it is by which Authenticator judges
	// them (docs/spec/semantics.md 4.5); nil: time.Now.
	Now      func() time.Time
	Access   Access
	Services Services
	Outbox   Outbox
	Vault    Vault
	Auditor  Auditor
	Presence Presence // nil: nobody asks
	Log      *slog.Logger
	Version  string // of the program, for $SYS/broker/version

	MaxPacket         int           // bytes of a frame from an authenticated client, 1 MiB
	MaxTopic          int           // bytes of a topic or filter, 4 KiB
	MaxLevels         int           // levels of a topic or filter, 64
	MaxFilters        int           // filters in one SUBSCRIBE or UNSUBSCRIBE, 256
	MaxSubscriptions  int           // of one session, 1024
	AllSessions       int           // sessions that exist at once, 65,536
	MaxSessions       int           // of one principal, 256, or an eighth of AllSessions if that is less
	MaxUserProperties int           // of one packet, 64
	ReceiveMaximum    int           // unacknowledged QoS 1 and 2 publishes of one client, 256
	TopicAliasMaximum int           // per connection, 64
	Inflight          int           // unacknowledged deliveries to one client, 512
	QueueMessages     int           // waiting deliveries of one session, 10,000
	QueueBytes        int           // 16 MiB
	PrincipalBytes    int64         // of all sessions of one principal, an eighth of TotalQueueBytes, at least QueueBytes
	TotalQueueBytes   int64         // of all sessions, 256 MiB
	Overflow          Overflow      // what is given up when a delivery finds its queue full, DropOldest
	MaxRetained       int           // retained messages, 100,000; beyond half of either limit one publisher may have a quarter
	MaxRetainedBytes  int64         // 128 MiB
	Buffer            int           // bytes encoded ahead for one connection, 64 KiB
	MaxSessionExpiry  time.Duration // also of a 3.1.1 session that is not clean, 7 days
	MaxKeepAlive      time.Duration // MQTT 5 clients are told a shorter one, 20 min
	WriteTimeout      time.Duration // without progress the connection is closed, 60 s
	Stall             time.Duration // how long publishers wait for one full buffer in all, 100 ms
	HoldUp            time.Duration // how long a receiver whose queue is nearly full may hold publishers up, 5 s, …
	HoldUpWindow      time.Duration // … in any such time, 60 s; after that it loses deliveries by Overflow
	FlushTimeout      time.Duration // for what is written before a close, 1 s
	RefuseHold        time.Duration // a publisher waits this long without capacity upstream, then it is closed, 5 s
	SuspendFor        time.Duration // a lost subscription may come back, 60 s
	SysInterval       time.Duration // of $SYS, 60 s

	// Overflowing, if set, is told which sessions lose deliveries for want of capacity,
	// whenever one begins to and when one has ended; an empty list says that none does.
	Overflowing func([]SessionOverflow)

	Contest ContestLimits
	// Contested, if set, is told which sessions clients take from each other, when one begins
	// to be contested and every second until none is; an empty list says that none is.
	Contested func([]Contest)

	// Crowded, if set, is told at which listeners connections are closed to make room for others,
	// when that begins and every second until it has ended; an empty list says that none are.
	Crowded func([]Crowd)

	// PolicyKnown is closed when the first attempt since the start to fetch the
	// present policy has ended, with or without success; nil means that the
	// policy is known already. A will that was stored before the start is sent
	// no earlier, because its client may have lost the right to it meanwhile;
	// but it waits no longer than PolicyWait, 30 s, and not after its client has
	// connected again.
	PolicyKnown <-chan struct{}
	PolicyWait  time.Duration
}

// ShareOfSessions is how many of all sessions one principal may have: its part, at most
// so many, and at least one.
func ShareOfSessions(all int, part float64, most int) int {
	return min(most, max(1, int(part*float64(all))))
}

func (o Options) withDefaults() Options {
	if o.Now == nil {
		o.Now = time.Now
	}
	def(&o.MaxPacket, 1<<20)
	def(&o.MaxTopic, 4<<10)
	def(&o.MaxLevels, 64)
	def(&o.MaxFilters, 256)
	def(&o.MaxSubscriptions, 1024)
	def(&o.AllSessions, 65_536)
	def(&o.MaxSessions, ShareOfSessions(o.AllSessions, 0.125, 256))
	def(&o.MaxUserProperties, 64)
	def(&o.ReceiveMaximum, 256)
	def(&o.TopicAliasMaximum, 64)
	def(&o.Inflight, 512)
	def(&o.QueueMessages, 10_000)
	def(&o.QueueBytes, 16<<20)
	def(&o.TotalQueueBytes, 256<<20)
	def(&o.PrincipalBytes, o.TotalQueueBytes/8)
	o.PrincipalBytes = max(o.PrincipalBytes, int64(o.QueueBytes))
	def(&o.MaxRetained, 100_000)
	def(&o.MaxRetainedBytes, 128<<20)
	def(&o.Buffer, 64<<10)
	def(&o.MaxSessionExpiry, 7*24*time.Hour)
	def(&o.MaxKeepAlive, 20*time.Minute)
	def(&o.WriteTimeout, time.Minute)
	def(&o.Stall, 100*time.Millisecond)
	def(&o.HoldUp, 5*time.Second)
	def(&o.HoldUpWindow, time.Minute)
	def(&o.FlushTimeout, time.Second)
	def(&o.RefuseHold, 5*time.Second)
	def(&o.SuspendFor, time.Minute)
	def(&o.SysInterval, time.Minute)
	def(&o.PolicyWait, 30*time.Second)
	o.Contest = o.Contest.withDefaults()
	return o
}

func def[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}
