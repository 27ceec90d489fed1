package config

import "time"

// The modes of Upstream and the overflow policies.
const (
	UpstreamNone   = "none"
	UpstreamMQTT   = "mqtt"
	UpstreamIoTHub = "iothub"

	OverflowRefuse     = "refuse"
	OverflowDropOldest = "drop-oldest"
	OverflowDropNewest = "drop-newest"
	OverflowDisconnect = "disconnect" // of sessions only: the session ends
)

// Outbox bounds the messages that wait to be sent upstream. With an overflow policy
// drop-oldest or drop-newest, messages that were acknowledged may be lost.
type Outbox struct {
	// The size of all messages that wait. Give the state directory twice as much.
	MaxBytes Size `yaml:"maxBytes"`
	// The same, counted.
	MaxMessages int `yaml:"maxMessages" unit:"messages"`
	// The size of one device's messages that wait.
	PerDeviceBytes Size `yaml:"perDeviceBytes"`
	// The same, counted.
	PerDeviceMessages int `yaml:"perDeviceMessages" unit:"messages"`
	// After this long a message is dropped; 0: never. A route may have its own.
	TTL time.Duration `yaml:"ttl"`
	// What happens when the outbox is full: refuse the new message, or lose one. A route may have its own.
	Overflow string `yaml:"overflow" choices:"refuse,drop-oldest,drop-newest"`
	// How long a publisher whose protocol has no answer for a full outbox (MQTT 3.1.1, or QoS 2) waits for capacity. If
	// none of its messages is taken in this time, its connection is closed.
	RefuseAfter time.Duration `yaml:"refuseAfter"`
	// Messages that upstream never takes: they are parked, so that they do not block the others.
	Parked Parked `yaml:"parked"`
	// How fast a backlog is sent; 0: as fast as it goes.
	ReplayRate float64 `yaml:"replayRate" unit:"messages a second"`
}

// Parked bounds the parked messages: those on which upstream ended the connection again
// and again. They are kept beside the outbox until an operator retries or purges them.
// Beyond the limits the message that was parked first is dropped and counted.
type Parked struct {
	// How many are kept.
	MaxMessages int `yaml:"maxMessages" unit:"messages"`
	// How much is kept of them.
	MaxBytes Size `yaml:"maxBytes"`
	// How many are kept of one device.
	PerDeviceMessages int `yaml:"perDeviceMessages" unit:"messages"`
}

// Upstream is where telemetry goes.
type Upstream struct {
	// An IoT Hub, any MQTT broker, or nothing.
	Mode string `yaml:"mode" choices:"none,mqtt,iothub"`
	// The service principal by whose rights messages and direct methods from upstream are decided. Unset: of
	// what upstream sends only twins are passed on.
	As Principal `yaml:"as"`
	// mode mqtt: the broker.
	MQTT UpstreamMqtt `yaml:"mqtt"`
	// mode iothub: the hub.
	IoTHub UpstreamHub `yaml:"iothub"`
	// How long upstream may leave a message unacknowledged before it is sent again over a new connection. The
	// second time counts as if upstream had ended the connection because of it.
	AckTimeout time.Duration `yaml:"ackTimeout"`
	// What goes upstream. The first route whose filter matches takes a message; without a route it stays here.
	Routes []Route `yaml:"routes"`
}

// UpstreamMqtt is any MQTT broker.
type UpstreamMqtt struct {
	// mqtts://host:port or wss://host:port/path; on loopback also mqtt:// and ws://.
	URL string `yaml:"url" example:"mqtts://broker.example.com:8883"`
	// The fixed name of this gateway's session there; without it messages are lost on reconnect.
	ClientID string `yaml:"clientId" example:"gateway-1"`
	// PEM file with the broker's authority; empty: the system's authorities.
	CA File `yaml:"ca"`
	// PEM file with the gateway's certificate chain, for a broker that asks for one.
	Cert File `yaml:"cert"`
	// PEM file with its private key.
	Key SecretFile `yaml:"key"`
	// The user name.
	Username string `yaml:"username"`
	// A file with the password; read before each connection.
	Password SecretFile `yaml:"password" example:"${CREDENTIALS_DIRECTORY}/secret_broker-password"`
	// MQTT's keep alive, 5s to 65535s.
	KeepAlive time.Duration `yaml:"keepAlive"`
	// Unacknowledged messages on the wire, 1 to 65535: throughput is this by round trip time.
	Window int `yaml:"window" unit:"messages"`
	// How topics are renamed, both ways.
	Topics TopicMappings `yaml:"topics"`
	// Tells the broker in CONNECT that this client is a bridge, as mosquitto and others understand it: the broker
	// sends nothing back that went up, so that the same topics may go both ways, and messages retained there are
	// retained and deleted here. A broker that does not understand it refuses the connection.
	Bridge bool `yaml:"bridge"`
}

// TopicMappings lists the rewrites both ways. In each list the first mapping
// that takes a topic decides. What no mapping takes goes up under its own
// topic, and is not taken down.
type TopicMappings struct {
	// What goes up. The first mapping that takes a topic decides; what none takes goes up under its own topic.
	Up []UpMapping `yaml:"up"`
	// What is taken down. The first mapping that takes a topic decides; what none takes is not taken.
	Down []DownMapping `yaml:"down"`
}

// UpMapping renames what a route sends up.
type UpMapping struct {
	// The topics that the mapping renames, of any route.
	Filter string `yaml:"filter" required:"yes" example:"site/#"`
	// The beginning of filter that is taken away.
	From string `yaml:"from" example:"site/"`
	// What is put in its place. May hold {topic}, {device}, {module}, {sensor}, {origin} and {name}.
	To string `yaml:"to" example:"plant7/"`
	// One fixed topic upstream, instead of from and to. May hold the same placeholders.
	Topic string `yaml:"topic"`
	// The highest QoS with which a message is sent, 0 to 2; 2 is read as 1.
	QoS int `yaml:"qos" unit:"QoS"`
}

// DownMapping takes what Filter matches upstream into the gateway.
type DownMapping struct {
	// The topics upstream that are subscribed to.
	Filter string `yaml:"filter" required:"yes" example:"plant7/commands/#"`
	// The beginning of filter that is taken away.
	From string `yaml:"from" example:"plant7/"`
	// What is put in its place.
	To string `yaml:"to" example:"site/"`
	// The QoS of the subscription, 0 to 2; 2 is read as 1.
	QoS int `yaml:"qos" unit:"QoS"`
}

// UpstreamHub is an IoT Hub.
type UpstreamHub struct {
	// The hub's name, also in its certificate; empty: instance.hub.host.
	Host string `yaml:"host"`
	// The address that is dialled (HOST:PORT); the certificate must name host all the same. Empty: port 8883 of host.
	Address string `yaml:"address"`
	// PEM file with the hub's authority; empty: the system's authorities.
	CA File `yaml:"ca"`
	// MQTT's keep alive, 5s to 65535s; the hub ends the connection after 29 minutes at most.
	KeepAlive time.Duration `yaml:"keepAlive"`
	// Unacknowledged messages on the wire, 1 to 65535: throughput is this by round trip time.
	Window int `yaml:"window" unit:"messages"`
	// The gateway's own device identity there: a certificate with its key, or a symmetric key. Needed in this mode.
	GatewayDevice GatewayDevice `yaml:"gatewayDevice"`
	// On: each downstream device whose symmetric key the gateway holds has a connection of its own. The other devices use the gateway's.
	PerDevice bool `yaml:"perDevice"`
}

// GatewayDevice is the gateway's own device identity.
type GatewayDevice struct {
	// The device id under which the gateway is registered.
	ID string `yaml:"id" example:"gateway-1"`
	// PEM file with its certificate chain.
	Cert File `yaml:"cert" example:"/etc/gatehouse/tls/gateway-1.crt"`
	// PEM file with its private key.
	Key SecretFile `yaml:"key" example:"${CREDENTIALS_DIRECTORY}/secret_gateway-1.key"`
	// A file with the symmetric key in base64, instead of a certificate.
	SASKey SecretFile `yaml:"sasKey"`
}

// Route sends what its filter matches upstream.
type Route struct {
	// Its own name, for metrics and logs.
	Name string `yaml:"name" required:"yes" example:"telemetry"`
	// The topics that the route takes.
	Filter string `yaml:"filter" required:"yes" example:"devices/+/messages/events/#"`
	// 0 is sent last, 9 first.
	Priority int `yaml:"priority" unit:"priority"`
	// After this long a message is dropped; 0: outbox.ttl.
	TTL time.Duration `yaml:"ttl"`
	// What happens when the outbox is full; empty: outbox.overflow.
	Overflow string `yaml:"overflow" choices:",refuse,drop-oldest,drop-newest"`
}
