package inspect

import (
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// Remotes lists the servers that the configuration names, for gatehousectl doctor, which looks at each
// from where it runs. Secrets are not among it: of the files of the servers' authorities it takes the
// certificates, and leaves out a private key that somebody keeps in the same file.
func (n *Inspector) Remotes() admin.Remotes {
	cfg := n.o.Config()
	r := admin.Remotes{Time: n.o.Now()}
	add := func(name, text string, ca config.File, more func(*admin.Remote)) {
		u, err := url.Parse(text)
		if text == "" || err != nil || u.Host == "" {
			return
		}
		x := admin.Remote{
			Name:       name,
			URL:        (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String(),
			Address:    u.Host,
			ServerName: u.Hostname(),
		}
		if u.Port() == "" {
			x.Address = net.JoinHostPort(u.Hostname(), ports[u.Scheme])
		}
		if ca != "" {
			text, err := os.ReadFile(string(ca))
			switch x.Authority = certificatesOf(text); {
			case err != nil:
				x.AuthorityError = err.Error()
			case x.Authority == "":
				x.AuthorityError = "no certificate is in " + string(ca)
			}
		}
		if more != nil {
			more(&x)
		}
		r.Remotes = append(r.Remotes, x)
	}
	m := cfg.Cloud.Management
	add("cloud.management.url", m.URL, m.CA, func(x *admin.Remote) { x.Clock = true })
	add("cloud.management.credential.tokenUrl", m.Credential.TokenURL, m.CA, nil)
	add("identity.jwks.url", cfg.Identity.JWKS.URL, cfg.Identity.JWKS.CA, nil)
	add("deviceUpdate.endpoint", cfg.DeviceUpdate.Endpoint, cfg.DeviceUpdate.CA, nil)
	switch up := cfg.Upstream; up.Mode {
	case config.UpstreamMQTT:
		add("upstream.mqtt.url", up.MQTT.URL, up.MQTT.CA, func(x *admin.Remote) { x.Upstream = true })
	case config.UpstreamIoTHub:
		host := up.IoTHub.Host
		if host == "" {
			host = cfg.Instance.Hub.Host
		}
		add("upstream.iothub", "mqtts://"+host, up.IoTHub.CA, func(x *admin.Remote) {
			x.Upstream = true
			if up.IoTHub.Address != "" {
				x.Address = up.IoTHub.Address
			}
		})
	}
	return r
}

// certificatesOf are the certificates of a PEM file, and nothing else of it.
func certificatesOf(text []byte) string {
	var out []byte
	for {
		var b *pem.Block
		if b, text = pem.Decode(text); b == nil {
			return string(out)
		}
		if b.Type == "CERTIFICATE" {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes})...)
		}
	}
}

// ports are those of the schemes of the configuration.
var ports = map[string]string{"https": "443", "http": "80", "mqtts": "8883", "mqtt": "1883", "wss": "443", "ws": "80"}

// echoWait is the longest that an echo is waited for.
const echoWait = 5 * time.Second

// Echo sends a probe upstream by the connection that there is, and waits for it.
func (n *Inspector) Echo(ctx context.Context) (admin.EchoResult, error) {
	if n.o.Uplink == nil {
		return admin.EchoResult{}, &admin.Error{
			Status: http.StatusConflict,
			What:   "there is no upstream",
			Where:  "upstream.mode",
			Next:   "configure one",
		}
	}
	ctx, cancel := context.WithTimeout(ctx, echoWait)
	defer cancel()
	_, _, target, _ := n.o.Uplink.Status()
	took, err := n.o.Uplink.Echo(ctx)
	r := admin.EchoResult{Target: target, Seconds: took.Seconds()}
	if errors.Is(err, context.DeadlineExceeded) {
		r.Error = "no answer within " + echoWait.String()
	} else if err != nil {
		r.Error = err.Error()
	}
	return r, nil
}
