package gateway

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/admin/inspect"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/console"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/metrics"
	"github.com/gatehouse/gatehouse/gateway/systemd"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// watchdogIdle is the rhythm of the self-test without systemd's watchdog.
const watchdogIdle = 15 * time.Second

// operatorActors are the doors for operators and the watchdog.
func (d *daemon) operatorActors() ([]actor, error) {
	var server *admin.Server
	page, err := console.New(func(ctx context.Context) ([]byte, error) { return server.StatusJSON(ctx) }, d.log)
	if err != nil {
		return nil, err
	}
	server = admin.New(admin.Options{
		Sources: d.sources(), Owner: os.Getuid(), Operators: d.cfg.Admin.Operators,
		Console: page, Metrics: metrics.Handler(d.registry), Audit: d.ledger.Audit, Log: d.log,
	})
	watchdog, err := systemd.NewWatchdog(d.notify, watchdogIdle, d.selfTest, func(err error) {
		d.health.Set(err != nil, "self-test", health.Failing, fmt.Sprint("the round trip through the broker failed: ", err), "journalctl -u gatehoused; systemd restarts the daemon when this lasts")
	})
	if err != nil {
		return nil, err
	}
	actors := []actor{
		{name: "admin socket", run: func(ctx context.Context) error { return server.ServeSocket(ctx, d.doors.admin) }},
		{name: "watchdog", run: watchdog.Run},
	}
	if page := d.doors.page; page != nil {
		actors = append(actors, actor{name: "status page", run: func(ctx context.Context) error {
			select {
			case <-page.Opened(): // ServeLoopback judges the address that it has become
				return server.ServeLoopback(ctx, page)
			case <-ctx.Done():
				return page.Close()
			}
		}})
	}
	return actors, nil
}

// acceptance tells when connections cannot be taken in, which only those
// outside would notice. n counts the failures; it compares with the last time.
func (d *daemon) acceptance(n uint64) {
	d.health.Set(n > d.acceptErrors, "accept-failed", health.Degraded, fmt.Sprintf("%d attempts to accept a connection failed lately, most often for want of file descriptors", n-d.acceptErrors),
		"journalctl -u gatehoused names the cause; raise LimitNOFILE= of the unit, or the listener's limits are too high for it")
	d.acceptErrors = n
}

// parkedMessages names what upstream does not take.
func (d *daemon) parkedMessages() {
	if d.outbox == nil {
		return
	}
	s := d.outbox.Stats()
	d.health.Set(s.Parked > 0, "outbox-parked", health.Degraded,
		fmt.Sprintf("upstream ends the connection on %d messages, which are set aside; %d others were dropped because too many are", s.Parked, s.ParkedDropped),
		"gatehousectl outbox parked lists them with the reason; outbox retry or outbox purge --parked ends it")
	d.health.Set(s.Paused, "outbox-paused", health.Degraded, "an operator keeps messages from going upstream", "gatehousectl outbox resume --all")
}

// selfTest is a real round trip: a message through the broker's plane, and a
// record through the store.
func (d *daemon) selfTest(ctx context.Context) error {
	d.acceptance(d.broker.Stats().AcceptErrors)
	d.clockIsSet()
	d.parkedMessages()
	if err := d.broker.Ping(ctx); err != nil {
		return err
	}
	stored := make(chan error, 1)
	d.store.Bucket("self-test").Put("watchdog", []byte(d.clock.Now().Format(time.RFC3339)), func(err error) { stored <- err })
	select {
	case err := <-stored:
		d.health.Set(d.store.Quiet(), "store-cramped", health.Degraded, "the disk has too little room to compact the store: it works, and grows", "free space on the state directory, about as much as the store occupies; compaction goes on by itself")
		if err != nil {
			// A full disk is no reason to be restarted: health says it, messages are refused.
			d.health.Raise("store-refuses", health.Failing, fmt.Sprint("the message store takes nothing: ", err), "free space on the state directory; it recovers by itself")
			return nil
		}
		d.health.Clear("store-refuses")
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the message store did not answer: %w", ctx.Err())
	}
}

func (d *daemon) redactedConfig(context.Context) ([]byte, error) {
	return yaml.Marshal(d.inForce.Load().Redacted())
}

// buildInspector makes what answers operators; it comes last, because it reads every other part.
func (d *daemon) buildInspector() error {
	o := inspect.Options{
		Build:    admin.Build{Version: d.opts.Version, Go: runtime.Version()},
		Started:  d.started,
		Instance: d.cfg.Instance,
		Policy:   d.policy,
		Stored: func(ctx context.Context) (*model.Snapshot, error) {
			g, err := d.store.Cache().Load(ctx)
			return &g.Policy, err
		},
		Aging:       d.staging,
		Access:      d.access,
		Broker:      d.broker,
		Health:      d.health.Report,
		Deployments: d.guard.Counts,
		Denied:      d.ledger.DeniedByReason,
		Audit:       d.audit.Counts,
		Authorities: d.identity.Problems,
		Listeners:   d.listenerStates,
		Served:      d.certificates,
		OutboxLimit: int64(d.cfg.Outbox.MaxBytes),
		CloudURL:    d.cfg.Cloud.Management.URL,
	}
	// An interface that holds a nil pointer would not be nil.
	if d.outbox != nil {
		o.Outbox, o.Uplink = d.outbox, d.uplink
	}
	if d.replica != nil {
		o.Replica = d.replica
	}
	d.inspector = inspect.New(o)
	return nil
}

func (d *daemon) listenerStates() []admin.ListenerState {
	list := make([]admin.ListenerState, 0, len(d.doors.mqtt))
	for _, l := range d.doors.mqtt {
		list = append(list, admin.ListenerState{Name: l.Name, Kind: kindName(l.Kind), Address: l.Listener.Addr().String()})
	}
	return list
}

// certificates are those that listeners show, by the time that is believed.
func (d *daemon) certificates() []inspect.Certificate {
	var list []inspect.Certificate
	now := d.clock.Now()
	for _, c := range d.doors.all.Certificates() {
		list = append(list, inspect.Certificate{Listener: c.Door, NotAfter: c.NotAfter, Left: c.Left(now), Good: c.At(now) == tlsfile.Good})
	}
	return list
}

func kindName(k broker.Kind) string {
	switch k {
	case broker.WebSocket:
		return config.KindWebSocket
	case broker.Unix:
		return config.KindUnix
	default:
		return config.KindMQTT
	}
}

// sources is what operators may ask.
func (d *daemon) sources() admin.Sources {
	s := d.inspector.Sources()
	if d.outbox != nil {
		s.Outbox = inspect.OutboxDesk{Box: d.outbox}
	}
	s.Audit = d.audit.Recent
	s.Follow = func() admin.Follower { return d.audit.Follow() }
	s.ResetClock = d.resetClock
	s.Config = d.redactedConfig
	return s
}
