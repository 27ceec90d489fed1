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

// Listener is one door for clients.
type Listener struct {
	// 1 to 32 of a-z, 0-9 and -; also the name of its systemd socket.
	Name string `yaml:"name" required:"yes" show:"mqtts"`
	// What is spoken: MQTT over TCP, over WebSocket, or over a unix socket.
	Kind string `yaml:"kind" choices:"mqtt,websocket,unix"`
	// HOST:PORT, or the absolute path of a unix socket.
	Address string `yaml:"address" required:"yes" show:"0.0.0.0:8883"`
	// The certificate; needed on a network that is not loopback, unless plaintext is on.
	TLS *TLS `yaml:"tls,omitempty" show:"section"`
	// On: this listener needs no TLS. Credentials and messages can be read on its network, which must be protected otherwise.
	Plaintext bool `yaml:"plaintext"`
	// What happens when a publish of an MQTT 3.1.1 client is denied, which that version cannot report: the client is
	// disconnected, or the message is acknowledged and dropped.
	OnDeniedPublish string `yaml:"on_denied_publish" choices:"disconnect,ignore"`
	// On: filters wider than the client's rights are accepted, and each delivery is checked (docs/spec/semantics.md 3.6).
	Filtered bool `yaml:"filtered"`
	// websocket: one more URL path; /mqtt and /$iothub/websocket are always served.
	Path string `yaml:"path" example:"/plant"`
	// websocket: the Origin headers that are accepted besides the listener's own; only browsers send one.
	Origins []string `yaml:"origins" example:"[https://building.example.com]"`
	// unix: which principal a process with a user id is; needed with this kind.
	Peers []Peer `yaml:"peers"`
	// This listener's own limits; any other limit is that of the top-level limits.
	Limits ListenerLimits `yaml:"limits" inherit:"limits"`
}

// TLS is a listener's certificate. Which client certificate proves whom is the
// registry's business.
type TLS struct {
	// PEM file with the certificate chain.
	Cert File `yaml:"cert" required:"yes" show:"/etc/gatehouse/tls/server.crt"`
	// PEM file with the private key.
	Key SecretFile `yaml:"key" required:"yes" show:"${CREDENTIALS_DIRECTORY}/secret_server.key"`
	// PEM file with authorities that are named to clients, so that they choose a certificate of one of them. Which
	// certificate is accepted, the cloud's registry says.
	ClientCA File `yaml:"clientCA" example:"/etc/gatehouse/tls/devices-ca.crt"`
	// The oldest version that is spoken.
	MinVersion string `yaml:"minVersion" choices:",1.2,1.3"`
}

// Peer maps the uid at the other end of a unix socket to a principal key.
type Peer struct {
	// The user id.
	UID int `yaml:"uid" unit:"user id" required:"yes" example:"1000"`
	// local:NAME, a principal without rights of its own, or an identity as TYPE:ID, whose rights the process has.
	Principal string `yaml:"principal" required:"yes" example:"local:commissioning"`
}

// ListenerLimits bound what clients that are not authenticated yet can cost a listener
// (docs/spec/broker-boundary.md B7, B8, B9). Each listener may have its own.
type ListenerLimits struct {
	// How long a TLS or WebSocket handshake may take.
	HandshakeTimeout time.Duration `yaml:"handshakeTimeout"`
	// How long a connection may take to send CONNECT and be answered.
	ConnectTimeout time.Duration `yaml:"connectTimeout"`
	// Connections whose client is not authenticated yet. When there are so many, a newcomer costs the one its place that
	// has shown least for longest, of the address that holds most. One address may hold a quarter; half is kept for
	// addresses whose clients have connected before.
	MaxUnauthenticated int `yaml:"maxUnauthenticated" unit:"connections"`
	// Connections of this listener.
	MaxConnections int `yaml:"maxConnections" unit:"connections"`
	// Connections from one address.
	MaxPerAddress int `yaml:"maxPerAddress" unit:"connections"`
	// New connections from one address.
	RatePerAddress float64 `yaml:"ratePerAddress" unit:"connections a second"`
	// The largest CONNECT packet; at most limits.maxPacket.
	MaxConnectPacket Size `yaml:"maxConnectPacket"`
}

// Limits are what all listeners share: the limits of frames, which are the
// broker's and the same on every connection (docs/spec/broker-boundary.md B13, B20, B28),
// and those limits of listeners that a listener does not set for itself.
type Limits struct {
	ListenerLimits `yaml:",inline"`

	// The largest packet of an authenticated client; at most 16 MiB. IoT Hub takes 256 KiB.
	MaxPacket Size `yaml:"maxPacket"`
	// The longest keep alive of an MQTT 5 client, which is told this one instead of a longer one or none.
	MaxKeepAlive time.Duration `yaml:"maxKeepAlive"`
	// QoS 1 and 2 publishes of one client that are not acknowledged yet, 1 to 65535.
	ReceiveMaximum int `yaml:"receiveMaximum" unit:"messages"`
	// Topic aliases of one connection, 1 to 65535.
	TopicAliasMaximum int `yaml:"topicAliasMaximum" unit:"aliases"`
	// The longest topic or filter, 64 to 65535.
	MaxTopicLength int `yaml:"maxTopicLength" unit:"bytes"`
	// The most levels of a topic or filter, 8 to 256.
	MaxTopicLevels int `yaml:"maxTopicLevels" unit:"levels"`
	// Subscriptions of one session.
	MaxFilters int `yaml:"maxFilters" unit:"filters"`
	// How many bytes of messages are encoded for one connection before its client has read them.
	WriteBuffer Size `yaml:"writeBuffer"`
}

// Sessions bounds what is kept for clients, each and in all (docs/spec/broker-boundary.md B14).
type Sessions struct {
	// The longest that a session is kept for a client that is not connected; also how long a 3.1.1 session is kept
	// that is not clean.
	MaxExpiry time.Duration `yaml:"maxExpiry"`
	// Messages that wait in the queue of one session.
	QueueMessages int `yaml:"queueMessages" unit:"messages"`
	// The same, by size.
	QueueBytes Size `yaml:"queueBytes"`
	// What waits in the queues of all sessions together.
	TotalBytes Size `yaml:"totalBytes"`
	// Sessions that exist at once, whether their clients are connected or not; a CONNECT that would make one more is refused.
	Max int `yaml:"max" unit:"sessions"`
	// Sessions of one principal; never more than principalShare of max.
	PerPrincipal int `yaml:"perPrincipal" unit:"sessions"`
	// The part of totalBytes and of max that one principal may hold, above 0 to 1; one session with a full queue is always allowed.
	PrincipalShare float64 `yaml:"principalShare" unit:"of totalBytes and of max"`
	// What is given up when a queue is full: the oldest message of the publisher that holds
	// most of the queue, the new message, or the session.
	Overflow string `yaml:"overflow" choices:"drop-oldest,drop-newest,disconnect"`
	// How long, within any slowLimit, publishers wait for a connected receiver whose queue is nearly full; after that
	// overflow decides.
	Stall time.Duration `yaml:"stall"`
	// The time within which publishers wait for one receiver at most for stall.
	SlowLimit time.Duration `yaml:"slowLimit"`
	// Retained messages; beyond half of either limit one publisher may have a quarter.
	Retained int `yaml:"retained" unit:"messages"`
	// The same, by size.
	RetainedBytes Size `yaml:"retainedBytes"`
}

// DefaultLimits is what holds without a limits section; a limits section
// changes only what it names.
func DefaultLimits() Limits {
	return Limits{
		ListenerLimits: ListenerLimits{
			HandshakeTimeout:   10 * time.Second,
			ConnectTimeout:     10 * time.Second,
			MaxUnauthenticated: 512, // a handshake of half a second outlives 1,000 silent connections a second, wherever they come from
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
