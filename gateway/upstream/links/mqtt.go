package links

import (
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttbroker"
)

// MQTT is the link to an MQTT broker.
type MQTT struct {
	*mqttbroker.Link
	target string
}

// NewMQTT makes the link of upstream.mode mqtt. Of o, what does not come from the configuration is
// given: Principal, Receive and Log.
func NewMQTT(cfg *config.Config, o mqttbroker.Options) (*MQTT, error) {
	c := cfg.Upstream.MQTT
	o.URL, o.ClientID, o.Username, o.KeepAlive, o.Bridge = c.URL, c.ClientID, c.Username, c.KeepAlive, c.Bridge
	o.Routes, o.Down = Routes(cfg), downRules(c.Topics.Down)
	if c.Password != "" {
		o.Password = func() (string, error) { b, err := c.Password.Read(); return string(b), err }
	}
	if strings.HasPrefix(c.URL, "mqtts://") || strings.HasPrefix(c.URL, "wss://") {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		if c.CA != "" {
			pool, err := tlsfile.Pool(c.CA)
			if err != nil {
				return nil, fmt.Errorf("upstream.mqtt.ca: %w", err)
			}
			o.TLS.RootCAs = pool
		}
		if c.Cert != "" {
			pair, err := tlsfile.Pair(c.Cert, c.Key)
			if err != nil {
				return nil, fmt.Errorf("upstream.mqtt: %w", err)
			}
			o.TLS.Certificates = []tls.Certificate{pair}
		}
	}
	link, err := mqttbroker.New(o)
	if err != nil {
		return nil, err
	}
	return &MQTT{Link: link, target: shownURL(c.URL)}, nil
}

// Status is "connected" or "connecting", with the last failure, where the link leads, and since when it is so.
func (m *MQTT) Status() (state, detail, target string, since time.Time) {
	s := m.Link.Status()
	if s.Up {
		return "connected", "", m.target, s.Since
	}
	return "connecting", s.LastError, m.target, s.Since
}

// shownURL is a URL without what may be a secret in it: user info, query and fragment.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
