package inspect

import (
	"context"
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
// from where it runs. Secrets are not among it. It reads the files of the servers' authorities, which
// hold certificates only.
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
			pem, err := os.ReadFile(string(ca))
			if err != nil {
				x.AuthorityError = err.Error()
			}
			x.Authority = string(pem)
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
