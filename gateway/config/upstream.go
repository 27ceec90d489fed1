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
)

// Outbox bounds what waits for the upstream. TTL and Overflow are the
// defaults of routes that do not set their own. drop-* is an explicit
// exemption from the promise that nothing acknowledged is lost.
type Outbox struct {
	MaxBytes          Size          `yaml:"maxBytes"`
	MaxMessages       int           `yaml:"maxMessages"`
	PerDeviceBytes    Size          `yaml:"perDeviceBytes"`
	PerDeviceMessages int           `yaml:"perDeviceMessages"`
	TTL               time.Duration `yaml:"ttl"` // 0: never
	Overflow          string        `yaml:"overflow"`
	// RefuseAfter bounds how long a 3.1.1 publisher is held before its
	// connection is closed.
	RefuseAfter time.Duration `yaml:"refuseAfter"`
	// ReplayRate is messages a second from the backlog; 0: as fast as it goes.
	ReplayRate float64 `yaml:"replayRate"`
}

// Upstream is where telemetry goes.
type Upstream struct {
	Mode string `yaml:"mode"`
	// As is the service principal as whom messages and methods from upstream
	// are decided. Unset: nothing from upstream is let through but twins.
	As     Principal    `yaml:"as"`
	MQTT   UpstreamMqtt `yaml:"mqtt"`
	IoTHub UpstreamHub  `yaml:"iothub"`
	Routes []Route      `yaml:"routes"`
}

// UpstreamMqtt is any MQTT broker.
type UpstreamMqtt struct {
	URL       string        `yaml:"url"` // mqtts://host:port or wss://host:port/path; on loopback also mqtt:// and ws://
	ClientID  string        `yaml:"clientId"`
	CA        File          `yaml:"ca"`
	Cert      File          `yaml:"cert"`
	Key       SecretFile    `yaml:"key"`
	Username  string        `yaml:"username"`
	Password  SecretFile    `yaml:"password"`
	KeepAlive time.Duration `yaml:"keepAlive"`
	Window    int           `yaml:"window"` // unacknowledged messages on the wire
	Topics    TopicMappings `yaml:"topics"`
	// Bridge says to the broker that this is a bridge, which mosquitto and
	// others know: nothing that went up comes back, so that the same topics may
	// go both ways, and what is retained there is kept and deleted here. A
	// broker that does not know it refuses the connection.
	Bridge bool `yaml:"bridge"`
}

// TopicMappings lists the rewrites both ways. In each list the first mapping
// that takes a topic decides. What no mapping takes goes up under its own
// topic, and is not taken down.
type TopicMappings struct {
	Up   []UpMapping   `yaml:"up"`
	Down []DownMapping `yaml:"down"`
}

// UpMapping renames what a route sends up. It applies to the topics that
// Filter matches, whatever the filter of their route is.
type UpMapping struct {
	Filter string `yaml:"filter"`
	// From is the beginning of Filter that is taken away, and To is put in its place.
	From string `yaml:"from"`
	To   string `yaml:"to"`
	// Topic is one fixed topic upstream, in place of From and To. Both To and
	// Topic may hold {topic}, {device}, {module}, {sensor}, {origin} and {name}.
	Topic string `yaml:"topic"`
	QoS   int    `yaml:"qos"` // the most that a message is sent with; 2 is read as 1
}

// DownMapping takes what Filter matches upstream into the gateway.
type DownMapping struct {
	Filter string `yaml:"filter"`
	// From is the beginning of Filter that is taken away, and To is put in its place.
	From string `yaml:"from"`
	To   string `yaml:"to"`
	QoS  int    `yaml:"qos"` // of the subscription; 2 is read as 1
}

// UpstreamHub is an IoT Hub. Host defaults to instance.hub.host; Address
// overrides where it is dialled (host:port), not whom its certificate names.
type UpstreamHub struct {
	Host          string        `yaml:"host"`
	Address       string        `yaml:"address"`
	CA            File          `yaml:"ca"`
	KeepAlive     time.Duration `yaml:"keepAlive"`
	Window        int           `yaml:"window"`
	GatewayDevice GatewayDevice `yaml:"gatewayDevice"`
	// PerDevice opens one connection for each downstream device whose
	// symmetric key the gateway holds; the others ride on the gateway's own.
	PerDevice bool `yaml:"perDevice"`
}

// GatewayDevice is the gateway's own device identity: a certificate with its
// key, or a symmetric key.
type GatewayDevice struct {
	ID     string     `yaml:"id"`
	Cert   File       `yaml:"cert"`
	Key    SecretFile `yaml:"key"`
	SASKey SecretFile `yaml:"sasKey"`
}

// Route sends what its filter matches upstream. First match wins.
type Route struct {
	Name     string        `yaml:"name"`
	Filter   string        `yaml:"filter"`
	Priority int           `yaml:"priority"` // 0 lowest … 9 first
	TTL      time.Duration `yaml:"ttl"`
	Overflow string        `yaml:"overflow"`
}
