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

// HubAddress is where the IoT Hub of upstream.mode iothub is, and how the gateway proves itself there.
func HubAddress(cfg *config.Config) (iothub.Options, error) {
	c := cfg.Upstream.IoTHub
	host := cmp.Or(c.Host, cfg.Instance.Hub.Host)
	o := iothub.Options{
		Host:      host,
		Address:   c.Address,
		KeepAlive: c.KeepAlive,
		TLS:       &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host},
		Gateway:   iothub.Gateway{Device: c.GatewayDevice.ID},
	}
	if c.CA != "" {
		pool, err := tlsfile.Pool(c.CA)
		if err != nil {
			return o, fmt.Errorf("upstream.iothub.ca: %w", err)
		}
		o.TLS.RootCAs = pool
	}
	if c.GatewayDevice.SASKey != "" {
		key, err := readBase64(c.GatewayDevice.SASKey)
		if err != nil {
			return o, fmt.Errorf("upstream.iothub.gatewayDevice.sasKey: %w", err)
		}
		o.Gateway.Key = key
	} else if c.GatewayDevice.Cert != "" {
		pair, err := tlsfile.Pair(c.GatewayDevice.Cert, c.GatewayDevice.Key)
		if err != nil {
			return o, fmt.Errorf("upstream.iothub.gatewayDevice: %w", err)
		}
		o.Gateway.Certificate = &pair
	}
	return o, nil
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

// Hub is the link to an IoT Hub, with the host by which it is shown.
type Hub struct {
	*downlink.Link
	Host string
}

// Status is as MQTT.Status.
func (h *Hub) Status() (state, detail, target string, since time.Time) {
	state, detail, since = h.Link.Status()
	return state, detail, h.Host, since
}
