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
	URL       string        `yaml:"url"` // mqtt://, mqtts://, ws:// or wss://host:port
	ClientID  string        `yaml:"clientId"`
	CA        File          `yaml:"ca"`
	Cert      File          `yaml:"cert"`
	Key       SecretFile    `yaml:"key"`
	Username  string        `yaml:"username"`
	Password  SecretFile    `yaml:"password"`
	KeepAlive time.Duration `yaml:"keepAlive"`
	Window    int           `yaml:"window"` // unacknowledged messages on the wire
	Topics    TopicMappings `yaml:"topics"`
}

// TopicMappings lists the rewrites both ways.
type TopicMappings struct {
	Up   []TopicMapping `yaml:"up"`
	Down []TopicMapping `yaml:"down"`
}

// TopicMapping rewrites the prefix From of a topic to To; Filter says which
// topics it takes.
type TopicMapping struct {
	Filter string `yaml:"filter"`
	From   string `yaml:"from"`
	To     string `yaml:"to"`
	QoS    int    `yaml:"qos"`
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
