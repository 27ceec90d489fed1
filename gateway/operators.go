package gateway

import (
	"cmp"
	"context"
	"os"
	"runtime"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/actors"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/admin/inspect"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/console"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/health/watch"
	"github.com/gatehouse/gatehouse/gateway/metrics"
	"github.com/gatehouse/gatehouse/gateway/systemd"
)

// watchdogIdle is how often the self-test runs without systemd's watchdog.
const watchdogIdle = 15 * time.Second

// operatorActors are the admin socket, the status page and the watchdog.
func (d *daemon) operatorActors() ([]actors.Actor, error) {
	var server *admin.Server
	page, err := console.New(func(ctx context.Context) ([]byte, error) { return server.StatusJSON(ctx) }, d.log)
	if err != nil {
		return nil, err
	}
	server = admin.New(admin.Options{
		Sources:   d.sources(),
		Owner:     os.Getuid(),
		Operators: d.cfg.Admin.Operators,
		Console:   page,
		Metrics:   metrics.Handler(d.registry),
		Audit:     d.ledger.Audit,
		Log:       d.log,
	})
	watchdog, err := systemd.NewWatchdog(d.notify, watchdogIdle, d.selfTest, func(err error) {
		warnings.SelfTest(d.health, err)
	})
	if err != nil {
		return nil, err
	}
	parts := []actors.Actor{
		{Name: "admin socket", Run: func(ctx context.Context) error { return server.ServeSocket(ctx, d.doors.admin) }},
		{Name: "watchdog", Run: watchdog.Run},
	}
	if page := d.doors.page; page != nil {
		parts = append(parts, actors.Actor{Name: "status page", Run: func(ctx context.Context) error {
			select {
			case <-page.Opened(): // ServeLoopback judges the address that it has become
				return server.ServeLoopback(ctx, page)
			case <-ctx.Done():
				return page.Close()
			}
		}})
	}
	return parts, nil
}

// acceptance is told how often accept has failed since the start, and reports to health how often since its last call.
func (d *daemon) acceptance(n uint64) {
	warnings.AcceptFailed(d.health, n-d.acceptErrors)
	d.acceptErrors = n
}

// selfTest takes the broker's locks (broker.Ping), and writes a record to the store. The locks come first,
// because only Ping gives up when ctx ends: whatever else asks the broker would hang with it, and health
// would not be told.
func (d *daemon) selfTest(ctx context.Context) error {
	if err := d.broker.Ping(ctx); err != nil {
		return err
	}
	d.acceptance(d.broker.Stats().AcceptErrors)
	return d.watch.Stored(ctx)
}

// buildWatch makes the part that raises warnings from what the others say of themselves.
func (d *daemon) buildWatch() error {
	o := watch.Options{
		Config:   &d.cfg,
		Health:   d.health,
		Store:    d.store,
		Record:   d.keeper.Record,
		Identity: d.identity,
		Registry: d.policy.Registry,
		Now:      d.clock.Now,
	}
	if d.outbox != nil { // an interface that holds a nil pointer would not be nil
		o.Outbox, o.Link = d.outbox, d.uplink
	}
	d.watch = watch.New(o)
	d.ledger.Connected = d.watch.Connects.Record
	return nil
}

func (d *daemon) redactedConfig(context.Context) ([]byte, error) {
	return yaml.Marshal(d.inForce.Load().Redacted())
}

// buildInspector makes the part that answers operators. It is built last, because it reads every other part.
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
		Listeners:   d.listenerStates,
		Doors:       d.doors.all,
		Config:      d.inForce.Load,
		Disk: func() inspect.Disk {
			s := d.store.Stats()
			return inspect.Disk{Used: uint64(max(0, s.DiskBytes)), Free: s.Free, MinFree: s.MinFree}
		},
		Now:         d.clock.Now,
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
	for i, l := range d.doors.mqtt {
		kind := cmp.Or(d.cfg.Listeners[i].Kind, config.KindMQTT)
		list = append(list, admin.ListenerState{Name: l.Name, Kind: kind, Address: l.Listener.Addr().String()})
	}
	return list
}

// sources are the functions that answer the operators' questions.
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
