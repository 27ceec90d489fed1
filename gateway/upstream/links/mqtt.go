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

// NewMQTT makes the link of upstream.mode mqtt. The caller sets those options that do not come from the
// configuration: Principal, Receive and Log. report is told before each connection whether the files of
// TLS can be used (nil) or not; while they cannot, no connection is made.
func NewMQTT(cfg *config.Config, o mqttbroker.Options, report func(error)) (*MQTT, error) {
	c := cfg.Upstream.MQTT
	o.URL, o.ClientID, o.Username, o.KeepAlive, o.Bridge = c.URL, c.ClientID, c.Username, c.KeepAlive, c.Bridge
	o.Routes, o.Down = Routes(cfg), downRules(c.Topics.Down)
	if c.Password != "" {
		o.Password = func() (string, error) { b, err := c.Password.Read(); return string(b), err }
	}
	if secure(c.URL) {
		o.Files = func() (*tls.Config, error) {
			t, wrong := mqttFiles(&c)
			err := first(wrong)
			report(err)
			return t, err
		}
	}
	link, err := mqttbroker.New(o)
	if err != nil {
		return nil, err
	}
	return &MQTT{Link: link, target: shownURL(c.URL)}, nil
}

func secure(url string) bool {
	return strings.HasPrefix(url, "mqtts://") || strings.HasPrefix(url, "wss://")
}

// mqttFiles reads the files of the link's TLS. It returns an error for each file that cannot be used.
func mqttFiles(c *config.UpstreamMqtt) (*tls.Config, []error) {
	var wrong []error
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA != "" {
		pool, err := tlsfile.Pool(c.CA)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("upstream.mqtt.ca: %w", err))
		}
		t.RootCAs = pool
	}
	if c.Cert != "" {
		pair, err := tlsfile.Pair(c.Cert, c.Key)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("upstream.mqtt.cert: %w", err))
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, wrong
}

// first is the first of several errors; nil if there is none.
func first(wrong []error) error {
	if len(wrong) == 0 {
		return nil
	}
	return wrong[0]
}

// Status is "connected" or "connecting", with the last failure, the URL of the broker, and since when it is so.
func (m *MQTT) Status() (state, detail, target string, since time.Time) {
	s := m.Link.Status()
	if s.Up {
		return "connected", "", m.target, s.Since
	}
	return "connecting", s.LastError, m.target, s.Since
}

// shownURL is a URL without user info, query and fragment, which may contain a secret.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
