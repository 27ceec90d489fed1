package gateway

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
	"github.com/gatehouse/gatehouse/gateway/twins"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/downlink"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttbroker"
)

// routesOf are the outbox's routes.
func routesOf(cfg *config.Config) []upstream.Route {
	list := make([]upstream.Route, 0, len(cfg.Upstream.Routes))
	for _, r := range cfg.Upstream.Routes {
		route := upstream.Route{Name: r.Name, Filter: r.Filter, Priority: r.Priority, TTL: r.TTL, Overflow: overflowOf(r.Overflow, cfg.Outbox.Overflow)}
		if route.TTL == 0 {
			route.TTL = cfg.Outbox.TTL
		}
		if cfg.Upstream.Mode == config.UpstreamMQTT {
			route.Topics = upRules(cfg.Upstream.MQTT.Topics.Up)
		}
		list = append(list, route)
	}
	return list
}

func upRules(list []config.UpMapping) []mapping.Rule {
	rules := make([]mapping.Rule, 0, len(list))
	for _, m := range list {
		rules = append(rules, mapping.Rule{Filter: m.Filter, From: m.From, To: m.To, Topic: m.Topic, QoS: linkQoS(m.QoS)})
	}
	return rules
}

func downRules(list []config.DownMapping) []mapping.Rule {
	rules := make([]mapping.Rule, 0, len(list))
	for _, m := range list {
		rules = append(rules, mapping.Rule{Filter: m.Filter, From: m.From, To: m.To, QoS: linkQoS(m.QoS)})
	}
	return rules
}

// linkQoS is a QoS of the configuration on the link upstream, which goes no higher than 1.
func linkQoS(n int) byte { return byte(max(0, min(n, 1))) } //nolint:gosec // it is 0 or 1

func overflowOf(own, standard string) upstream.Overflow {
	if own == "" {
		own = standard
	}
	switch own {
	case config.OverflowDropOldest:
		return upstream.DropOldest
	case config.OverflowDropNewest:
		return upstream.DropNewest
	}
	return upstream.Refuse
}

// buildUplink makes the outbox and the link of the configured mode.
func (d *daemon) buildUplink() error {
	var connector upstream.Connector
	var window int
	switch d.cfg.Upstream.Mode {
	case config.UpstreamIoTHub:
		connector, window = d.hub.Connector(), d.cfg.Upstream.IoTHub.Window
		d.uplink = &hubUplink{d.hub, d.cfg.Instance.Hub.Host}
	case config.UpstreamMQTT:
		link, err := d.mqttLink()
		if err != nil {
			return err
		}
		connector, window, d.uplink = link, d.cfg.Upstream.MQTT.Window, &mqttUplink{link: link, target: shownURL(d.cfg.Upstream.MQTT.URL)}
	default:
		return nil
	}
	c := d.cfg.Outbox
	stored := d.store.Outbox()
	outbox, problems := upstream.New(upstream.Options{
		Storage:   stored,
		Shelf:     stored,
		Connector: connector,
		Routes:    routesOf(&d.cfg),
		Limits: upstream.Limits{
			Bytes:          int64(c.MaxBytes),
			DeviceBytes:    int64(c.PerDeviceBytes),
			Messages:       c.MaxMessages,
			DeviceMessages: c.PerDeviceMessages,
		},
		Parked: upstream.ParkedLimits{
			Messages:       c.Parked.MaxMessages,
			DeviceMessages: c.Parked.PerDeviceMessages,
			Bytes:          int64(c.Parked.MaxBytes),
		},
		Window:  window,
		Replay:  c.ReplayRate,
		AckWait: d.cfg.Upstream.AckTimeout,
		Log:     d.log,
		Now:     d.clock.Now,
		Elapsed: func() time.Duration { return d.opts.Now().Sub(d.started) },
	})
	if len(problems) > 0 {
		return problems[0]
	}
	d.outbox = outbox
	return outbox.Open()
}

// entrance is the outbox as the broker sees it, which is built before it.
func (d *daemon) entrance() upstream.Entrance {
	return upstream.Entrance{Outbox: func() *upstream.Outbox { return d.outbox }, Now: d.clock.Now, Acked: d.metrics.Acked}
}

// upstreamPrincipal is as whom what comes down is decided.
func (d *daemon) upstreamPrincipal() *principal.Principal {
	as := d.cfg.Upstream.As
	p := &principal.Principal{Kind: principal.Upstream, Key: "upstream:" + d.cfg.Upstream.Mode, Name: "upstream"}
	if !as.ObjectID.IsZero() {
		p.Subject = model.Subject{Object: as.ObjectID, GroupsKnown: true,
			Identities: []model.Identity{{Kind: model.ServicePrincipalID, Object: as.ObjectID, Tenant: as.TenantID}}}
	}
	return p
}

// twinLink is where twins live; nil when there is no hub.
func (d *daemon) twinLink() twins.Upstream {
	if d.hub == nil {
		return nil // an interface that holds a nil *Link would not be nil
	}
	return d.hub
}

// buildHub makes the link to an IoT Hub. It comes before the broker and the
// twins, which are given the link, and finds both through d once it runs.
func (d *daemon) buildHub() error {
	if d.cfg.Upstream.Mode != config.UpstreamIoTHub {
		return nil
	}
	at, err := d.hubAddress()
	if err != nil {
		return err
	}
	as := d.upstreamPrincipal()
	d.hub, err = downlink.New(downlink.Options{
		Hub:       at,
		PerDevice: d.cfg.Upstream.IoTHub.PerDevice,
		Topology:  d.policy.Topology,
		As:        as,
		May:       func(m *message.Message) message.Verdict { return d.access.Open(as).Publish(m.Topic, m) },
		Publish:   d.receive,
		Twins:     func() downlink.Twins { return d.twins },
		Audit:     d.ledger.Audit,
		Now:       d.clock.Now,
		Log:       d.log,
	})
	return err
}

// hubAddress is where the hub is and how the gateway proves itself there.
func (d *daemon) hubAddress() (iothub.Options, error) {
	c := d.cfg.Upstream.IoTHub
	host := cmp.Or(c.Host, d.cfg.Instance.Hub.Host)
	o := iothub.Options{
		Host:      host,
		Address:   c.Address,
		KeepAlive: c.KeepAlive,
		Log:       d.log,
		Now:       d.clock.Now,
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

// hubUplink is the IoT Hub mode.
type hubUplink struct {
	*downlink.Link
	target string
}

// Status implements uplink.
func (u *hubUplink) Status() (state, detail, target string, since time.Time) {
	state, detail, since = u.Link.Status()
	return state, detail, u.target, since
}

// receive publishes what an upstream sent; the broker is built after the link.
func (d *daemon) receive(m *message.Message, done func(error)) { d.broker.Publish(m, done) }

func (d *daemon) mqttLink() (*mqttbroker.Link, error) {
	c := d.cfg.Upstream.MQTT
	o := mqttbroker.Options{
		URL: c.URL, ClientID: c.ClientID, Username: c.Username, KeepAlive: c.KeepAlive, Principal: d.upstreamPrincipal(), Receive: d.receive,
		Routes: routesOf(&d.cfg), Down: downRules(c.Topics.Down), Bridge: c.Bridge, Log: d.log,
	}
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
	return mqttbroker.New(o)
}

// shownURL is a URL without what may be a secret in it: user info, query and fragment.
func shownURL(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}

// mqttUplink is the MQTT mode.
type mqttUplink struct {
	link   *mqttbroker.Link
	target string
}

// Run implements uplink.
func (u *mqttUplink) Run(ctx context.Context) error { return u.link.Run(ctx) }

// Status implements uplink.
func (u *mqttUplink) Status() (state, detail, target string, since time.Time) {
	s := u.link.Status()
	if s.Up {
		return "connected", "", u.target, s.Since
	}
	return "connecting", s.LastError, u.target, s.Since
}
