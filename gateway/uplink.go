package gateway

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/twins"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/downlink"
	"github.com/gatehouse/gatehouse/gateway/upstream/links"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttbroker"
)

// buildUplink makes the outbox and the link of the configured mode.
func (d *daemon) buildUplink() error {
	var connector upstream.Connector
	var window int
	switch d.cfg.Upstream.Mode {
	case config.UpstreamIoTHub:
		connector, window = d.hub.Connector(), d.cfg.Upstream.IoTHub.Window
		d.uplink = &links.Hub{Link: d.hub, Host: d.cfg.Instance.Hub.Host}
	case config.UpstreamMQTT:
		link, err := links.NewMQTT(&d.cfg, mqttbroker.Options{Principal: d.upstreamPrincipal(), Receive: d.receive, Log: d.log}, d.upstreamFiles)
		if err != nil {
			return err
		}
		connector, window, d.uplink = link, d.cfg.Upstream.MQTT.Window, link
	default:
		return nil
	}
	c := d.cfg.Outbox
	stored := d.store.Outbox()
	outbox, problems := upstream.New(upstream.Options{
		Storage:   stored,
		Shelf:     stored,
		Connector: connector,
		Routes:    links.Routes(&d.cfg),
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
		Elapsed: d.opts.Elapsed,
	})
	if len(problems) > 0 {
		return problems[0]
	}
	d.outbox = outbox
	return outbox.Open()
}

// entrance is what the broker has of the outbox, which is built after the broker.
func (d *daemon) entrance() upstream.Entrance {
	return upstream.Entrance{Outbox: func() *upstream.Outbox { return d.outbox }, Now: d.clock.Now, Acked: d.metrics.Acked}
}

// upstreamPrincipal is the principal by whose rights messages from upstream are decided.
func (d *daemon) upstreamPrincipal() *principal.Principal {
	as := d.cfg.Upstream.As
	p := &principal.Principal{Kind: principal.Upstream, Key: "upstream:" + d.cfg.Upstream.Mode, Name: "upstream"}
	if !as.ObjectID.IsZero() {
		p.Subject = model.Subject{Object: as.ObjectID, GroupsKnown: true,
			Identities: []model.Identity{{Kind: model.ServicePrincipalID, Object: as.ObjectID, Tenant: as.TenantID}}}
	}
	return p
}

// twinLink is the link to the hub that has the twins; nil when there is no hub.
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
	at := links.HubAddress(&d.cfg, d.upstreamFiles)
	at.Log, at.Now = d.log, d.clock.Now
	as := d.upstreamPrincipal()
	var err error
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

// upstreamFiles is told before each connection whether its files can be used.
func (d *daemon) upstreamFiles(err error) { warnings.UpstreamFiles(d.health, err) }

// receive publishes what an upstream sent; the broker is built after the link.
func (d *daemon) receive(m *message.Message, done func(error)) { d.broker.Publish(m, done) }
