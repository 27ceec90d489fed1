package config

import "time"

// The kinds of a Listener and its answers to a refused 3.1.1 publish.
const (
	KindMQTT      = "mqtt"
	KindWebSocket = "websocket"
	KindUnix      = "unix"

	OnDeniedDisconnect = "disconnect"
	OnDeniedIgnore     = "ignore"
)

// Listener is one door for clients. Name is also the name under which a
// socket passed in by systemd is found.
type Listener struct {
	Name    string `yaml:"name"`
	Kind    string `yaml:"kind"`
	Address string `yaml:"address"` // host:port, or the path of a unix socket
	TLS     *TLS   `yaml:"tls,omitempty"`
	// Plaintext must be said aloud for a network listener without TLS that
	// is not on loopback.
	Plaintext       bool   `yaml:"plaintext"`
	OnDeniedPublish string `yaml:"on_denied_publish"`
	// Filtered accepts wider filters and checks each delivery (docs/spec/semantics.md 3.6).
	Filtered bool     `yaml:"filtered"`
	Path     string   `yaml:"path"`    // websocket: the URL path
	Origins  []string `yaml:"origins"` // websocket: allowed Origin headers
	Peers    []Peer   `yaml:"peers"`   // unix: uid -> principal
	// Limits are this listener's own; what it does not name it has from the
	// top-level limits.
	Limits ListenerLimits `yaml:"limits"`
}

// TLS is a listener's certificate. ClientCA are additional authorities whose
// client certificates are looked at; which of them proves what is the
// registry's business.
type TLS struct {
	Cert       File       `yaml:"cert"`
	Key        SecretFile `yaml:"key"`
	ClientCA   File       `yaml:"clientCA"`
	MinVersion string     `yaml:"minVersion"` // "1.2" or "1.3"
}

// Peer maps the uid at the other end of a unix socket to a principal key.
type Peer struct {
	UID       int    `yaml:"uid"`
	Principal string `yaml:"principal"`
}

// ListenerLimits bound what one listener takes from strangers
// (docs/spec/broker-boundary.md B7, B8, B9). Each listener may have its own.
type ListenerLimits struct {
	HandshakeTimeout   time.Duration `yaml:"handshakeTimeout"`
	ConnectTimeout     time.Duration `yaml:"connectTimeout"`
	MaxUnauthenticated int           `yaml:"maxUnauthenticated"`
	MaxConnections     int           `yaml:"maxConnections"`
	MaxPerAddress      int           `yaml:"maxPerAddress"`
	RatePerAddress     float64       `yaml:"ratePerAddress"` // new connections a second
	MaxConnectPacket   Size          `yaml:"maxConnectPacket"`
}

// Limits are what all listeners share: the limits of frames, which are the
// broker's and the same on every connection (docs/spec/broker-boundary.md B13, B20, B28),
// and those limits of listeners that a listener does not set for itself.
type Limits struct {
	ListenerLimits `yaml:",inline"`

	MaxPacket Size `yaml:"maxPacket"`
	// MaxKeepAlive caps the keep alive of MQTT 5 clients.
	MaxKeepAlive      time.Duration `yaml:"maxKeepAlive"`
	ReceiveMaximum    int           `yaml:"receiveMaximum"`
	TopicAliasMaximum int           `yaml:"topicAliasMaximum"`
	MaxTopicLength    int           `yaml:"maxTopicLength"`
	MaxTopicLevels    int           `yaml:"maxTopicLevels"`
	MaxFilters        int           `yaml:"maxFilters"` // subscriptions of one session
	WriteBuffer       Size          `yaml:"writeBuffer"`
}

// Sessions bounds what is kept for clients, each and in all (docs/spec/broker-boundary.md B14).
type Sessions struct {
	MaxExpiry     time.Duration `yaml:"maxExpiry"`
	QueueMessages int           `yaml:"queueMessages"` // per session
	QueueBytes    Size          `yaml:"queueBytes"`    // per session
	TotalBytes    Size          `yaml:"totalBytes"`    // all queues
	Retained      int           `yaml:"retained"`      // retained messages
	RetainedBytes Size          `yaml:"retainedBytes"`
}

// DefaultLimits is what holds without a limits section; a limits section
// changes only what it names.
func DefaultLimits() Limits {
	return Limits{
		ListenerLimits: ListenerLimits{
			HandshakeTimeout:   10 * time.Second,
			ConnectTimeout:     10 * time.Second,
			MaxUnauthenticated: 256,
			MaxConnections:     10000,
			MaxPerAddress:      1024,
			RatePerAddress:     50,
			MaxConnectPacket:   16 * KiB,
		},
		MaxPacket:         256 * KiB, // IoT Hub's own limit for a device-to-cloud message
		MaxKeepAlive:      20 * time.Minute,
		ReceiveMaximum:    64,
		TopicAliasMaximum: 16,
		MaxTopicLength:    4096, // a path of 32 spaces and a property bag
		MaxTopicLevels:    48,
		MaxFilters:        256,
		WriteBuffer:       64 * KiB,
	}
}

// defaultListener seeds each element of listeners before its keys are read.
func defaultListener() Listener {
	return Listener{
		Kind:            KindMQTT,
		OnDeniedPublish: OnDeniedDisconnect,
	}
}
