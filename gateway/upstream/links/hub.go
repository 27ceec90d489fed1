package links

import (
	"cmp"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/gateway/upstream/downlink"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

// HubAddress returns the options of the IoT Hub link of upstream.mode iothub that come from the
// configuration: its address, and the gateway's own credentials. report is told before each connection
// whether the files of these can be used (nil) or not; while they cannot, no connection is made.
func HubAddress(cfg *config.Config, report func(error)) iothub.Options {
	c := cfg.Upstream.IoTHub
	o := iothub.Options{
		Host:      cmp.Or(c.Host, cfg.Instance.Hub.Host),
		Address:   c.Address,
		KeepAlive: c.KeepAlive,
		Gateway:   iothub.Gateway{Device: c.GatewayDevice.ID},
	}
	o.Files = func() (*tls.Config, iothub.Gateway, error) {
		t, own, wrong := hubFiles(&c, o.Host)
		err := first(wrong)
		report(err)
		return t, own, err
	}
	return o
}

// hubFiles reads the files of the link's TLS and of the gateway's own device. It returns an error for
// each file that cannot be used.
func hubFiles(c *config.UpstreamHub, host string) (*tls.Config, iothub.Gateway, []error) {
	var wrong []error
	t := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}
	own := iothub.Gateway{Device: c.GatewayDevice.ID}
	if c.CA != "" {
		pool, err := tlsfile.Pool(c.CA)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("upstream.iothub.ca: %w", err))
		}
		t.RootCAs = pool
	}
	if c.GatewayDevice.SASKey != "" {
		key, err := readBase64(c.GatewayDevice.SASKey)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("upstream.iothub.gatewayDevice.sasKey: %w", err))
		}
		own.Key = key
	} else if c.GatewayDevice.Cert != "" {
		pair, err := tlsfile.Pair(c.GatewayDevice.Cert, c.GatewayDevice.Key)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("upstream.iothub.gatewayDevice.cert: %w", err))
		}
		own.Certificate = &pair
	}
	return t, own, wrong
}

// Files returns an error for each file of the configured link that cannot be used now; each error begins
// with the name of its setting.
func Files(cfg *config.Config) []error {
	var wrong []error
	switch m := &cfg.Upstream.MQTT; {
	case cfg.Upstream.Mode == config.UpstreamIoTHub:
		_, _, wrong = hubFiles(&cfg.Upstream.IoTHub, "")
	case cfg.Upstream.Mode == config.UpstreamMQTT && secure(m.URL):
		_, wrong = mqttFiles(m)
	}
	return wrong
}

// Certificate is a certificate by which the gateway proves itself upstream.
type Certificate struct {
	Setting string // where the configuration names its file
	tlsfile.Validity
}

// Certificates reads the certificates of the configured link. A file that cannot be used is left out,
// because Files says why.
func Certificates(cfg *config.Config) []Certificate {
	setting, cert, key := "upstream.mqtt.cert", cfg.Upstream.MQTT.Cert, cfg.Upstream.MQTT.Key
	switch cfg.Upstream.Mode {
	case config.UpstreamIoTHub:
		own := cfg.Upstream.IoTHub.GatewayDevice
		setting, cert, key = "upstream.iothub.gatewayDevice.cert", own.Cert, own.Key
		if own.SASKey != "" {
			return nil
		}
	case config.UpstreamMQTT:
	default:
		return nil
	}
	if cert == "" {
		return nil
	}
	pair, err := tlsfile.Pair(cert, key)
	if err != nil {
		return nil
	}
	return []Certificate{{setting, tlsfile.Validity{NotBefore: pair.Leaf.NotBefore, NotAfter: pair.Leaf.NotAfter}}}
}

func readBase64(f config.SecretFile) ([]byte, error) {
	text, err := f.Read()
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(string(text))
	if err == nil && len(key) == 0 {
		err = errors.New("holds no key")
	}
	return key, err
}

// Hub is the link to an IoT Hub, with the host name that operators are shown.
type Hub struct {
	*downlink.Link
	Host string
}

// Status is as MQTT.Status.
func (h *Hub) Status() (state, detail, target string, since time.Time) {
	state, detail, since = h.Link.Status()
	return state, detail, h.Host, since
}
