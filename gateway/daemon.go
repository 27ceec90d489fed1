package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/trust"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/admin/inspect"
	"github.com/gatehouse/gatehouse/gateway/audit"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/health/watch"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/gateway/identity/jwks"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/metrics"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/registry"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/gateway/systemd"
	"github.com/gatehouse/gatehouse/gateway/twins"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/downlink"
	"github.com/gatehouse/gatehouse/sync/client"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// Options of Run, beside the configuration.
type Options struct {
	Version string
	Built   time.Time            // when this program was built: a clock that shows an earlier time is not trusted
	Stderr  *os.File             // where the log goes
	Now     func() time.Time     // nil: time.Now
	Elapsed func() time.Duration // monotonic, since a moment before the start; nil: by Now's monotonic readings
	// Free measures the space available at a directory; nil: statfs.
	Free func(dir string) (uint64, error)
	// Reload tells when to read the configuration again, by Load; nil: never.
	Reload <-chan os.Signal
	Load   func() (config.Config, []config.Problem)

	// rehearsal: the daemon is built and never run. No socket is opened, no file is
	// written, nothing is logged or sent.
	rehearsal bool
}

// daemon has all parts. build makes them and run starts them; none of them is replaced after
// that. Only the fields of live change.
type daemon struct {
	cfg     config.Config // as it was at start; live.inForce also has what a reload changed
	opts    Options
	log     *slog.Logger
	started time.Time

	reports
	core
	devices
	outward
	live

	doors     doors
	inspector *inspect.Inspector
}

// reports are the parts to which all others report, and the trusted time.
type reports struct {
	clock    *offline.Clock
	staging  *offline.Stages
	keeper   *offline.Keeper
	health   *health.Tracker
	watch    *watch.Watch
	registry *metrics.Registry
	metrics  *metrics.Set
	audit    *audit.Log
	ledger   *audit.Ledger
	notify   *systemd.Notifier
}

// core stores, decides and delivers. It is a whole gateway without cloud, upstream and Device Update.
type core struct {
	store    *store.Store
	policy   *policy.Policy
	keys     *jwks.Keyring
	identity *identity.Authenticator
	sharing  sync.Mutex // held while the shared certificates are read and named, so that the latest are named last
	access   *access.Control
	broker   *broker.Broker
}

// devices are the services to which devices send requests over MQTT.
type devices struct {
	guard     *update.Guard
	rights    *access.Deployments
	twins     *twins.Service
	registrar *registry.Service
}

// outward are the links to the cloud and upstream. Each is nil where the configuration has none.
type outward struct {
	cloud   *client.Client
	token   client.TokenSource // the gateway's own identity at the management API; nil without one
	replica *replica.Replica
	outbox  *upstream.Outbox
	uplink  uplink
	hub     *downlink.Link // nil unless upstream is an IoT Hub
	idle    []func()       // close idle connections to the cloud
}

// live is what changes while the daemon runs, by a reload or as the start proceeds.
type live struct {
	level    *slog.LevelVar                // of the log
	inForce  atomic.Pointer[config.Config] // cfg, with what a reload took over
	serving  atomic.Bool                   // READY=1 was sent
	synced   chan struct{}                 // closed by noteSync
	noteSync func()                        // the first sync has ended, well or not
	word     sync.Once                     // done once the cloud has confirmed the policy

	acceptErrors uint64 // their number when acceptance last ran; used by the watchdog's goroutine alone
}

// uplink is the link upstream, of any mode.
type uplink interface {
	Run(ctx context.Context) error
	inspect.Uplink
}

// Run runs the daemon until ctx ends. The configuration must have passed
// config.Load and Check. It returns nil when it was stopped as asked.
func Run(ctx context.Context, cfg config.Config, o Options) error {
	d, err := build(cfg, o)
	if err != nil {
		return err
	}
	d.warn(&cfg)
	return d.run(ctx)
}

// warn logs the warnings about a configuration that is in force.
func (d *daemon) warn(cfg *config.Config) {
	for _, w := range cfg.Warnings() {
		d.log.Warn("the configuration should be changed", "problem", w.String())
	}
}

// build makes all parts and connects them. It opens the store and the sockets, and starts nothing.
func build(cfg config.Config, o Options) (_ *daemon, err error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Stderr == nil {
		o.Stderr = os.Stderr
	}
	level := new(slog.LevelVar)
	if err := level.UnmarshalText([]byte(cfg.Log.Level)); err != nil {
		return nil, err
	}
	handler, err := systemd.NewHandler(cfg.Log.Format, level, o.Stderr)
	if err != nil {
		return nil, err
	}
	if o.rehearsal {
		handler = slog.DiscardHandler
	}
	d := &daemon{cfg: cfg, opts: o, log: slog.New(handler), started: o.Now()}
	if d.opts.Elapsed == nil {
		d.opts.Elapsed = func() time.Duration { return o.Now().Sub(d.started) }
	}
	d.level, d.synced = level, make(chan struct{})
	d.noteSync = sync.OnceFunc(func() { close(d.synced) })
	d.inForce.Store(&d.cfg)
	d.health = health.New(o.Now)
	d.health.Watch(d.healthChanged)
	if d.notify = systemd.NewNotifier(d.log); o.rehearsal {
		d.notify = systemd.Muted()
	}

	var undo []io.Closer
	defer func() {
		if err != nil {
			for i := len(undo) - 1; i >= 0; i-- {
				err = errors.Join(err, undo[i].Close())
			}
		}
	}()
	if err = d.openDoors(); err != nil {
		return nil, err
	}
	undo = append(undo, d.doors.all)
	if d.store, err = d.openStore(); err != nil {
		return nil, err
	}
	undo = append(undo, d.store)
	for _, step := range []func() error{
		d.buildReports,
		d.buildPolicy,
		d.buildIdentity,
		d.buildHub,
		d.buildMessages,
		d.buildUpdates,
		d.buildUplink,
		d.buildSync,
		d.buildRegistry,
		d.buildWatch,
		d.buildInspector,
	} {
		if err = step(); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *daemon) openStore() (*store.Store, error) {
	o := store.Options{Log: d.log, MinFree: uint64(d.cfg.State.MinFree), Free: d.opts.Free, Now: d.opts.Now}
	if d.opts.rehearsal {
		return store.OpenMemory(o)
	}
	return store.Open(string(d.cfg.State.Dir), o)
}

// buildReports makes the clock, audit, metrics and health, to which all other parts report.
func (d *daemon) buildReports() error {
	d.buildClock()
	d.registry = metrics.NewRegistry()
	var err error
	d.metrics, err = metrics.New(
		d.registry,
		metrics.Build{Version: d.opts.Version, GoVersion: runtime.Version()},
		metrics.Sources{Snapshot: func() metrics.Snapshot { return d.inspector.Gauges() }},
	)
	if err != nil {
		return err
	}
	a := d.cfg.Audit
	d.audit = audit.New(audit.Options{
		Logger:    d.log,
		File:      string(a.File),
		MaxSize:   int64(a.MaxSize),
		Keep:      a.Keep,
		Rate:      a.RatePerPrincipal,
		Ring:      a.Ring,
		Now:       d.opts.Now,
		FileError: func(err error) { warnings.AuditFile(d.health, err) },
	})
	d.ledger = audit.NewLedger(d.audit, d.metrics, func() string { return d.policy.Index().Version().String() })
	return nil
}

// buildPolicy makes the policy, and puts the cached generation into force.
func (d *daemon) buildPolicy() error {
	d.policy = policy.New(policy.Options{
		Store:    d.store.Cache(),
		Effects:  policyEffects{d},
		Mark:     func() (time.Time, uint64) { s := d.clock.Stamp(); return s.Time, s.Resets },
		Log:      d.log,
		Registry: device.Options{ActsForDepth: d.cfg.Access.ActsForDepth},
	})
	g, err := d.store.Cache().Load(context.Background())
	switch {
	case err == nil:
		d.policy.Adopt(g)
		_, dirty := d.store.Cache().Dirty()
		d.staging.Confirm(g.Taken, dirty)
		warnings.LossesNotKept(d.health, dirty)
	case errors.Is(err, store.ErrEmpty), errors.Is(err, store.ErrCorrupt):
		warnings.NoPolicy(d.health)
	default:
		return err
	}
	d.keeper.Keep()
	for _, q := range d.store.Quarantined() {
		warnings.Quarantined(d.health, q.Store, q.Reason, q.MovedTo)
	}
	d.access = access.New(access.Options{
		Facts:           d.policy.Facts,
		Stage:           d.staging.Stage,
		Site:            d.cfg.Instance.Site,
		HubScope:        d.cfg.Instance.Hub.ARMScope,
		InstanceScope:   d.cfg.Instance.DeviceUpdate.ARMScope,
		DeviceSelfGrant: d.cfg.Access.DeviceSelfGrant,
		KeepAfterExpiry: d.cfg.Offline.KeepAfterExpiry,
	})
	if d.cfg.Access.Map != "" {
		topicMap, problems := access.LoadTopicMap(string(d.cfg.Access.Map))
		if len(problems) > 0 {
			return problems[0]
		}
		d.access.SetTopicMap(topicMap)
	}
	return nil
}

// buildMessages makes the broker over the message store.
func (d *daemon) buildMessages() error {
	s, l, vault := d.cfg.Sessions, d.cfg.Limits, d.store.Vault()
	o := broker.Options{
		Listeners:         d.doors.mqtt,
		Authenticator:     d.identity,
		Now:               d.clock.Now,
		Access:            liveAccess{&access.Live{Control: d.access, Still: d.identity.Still, Decided: d.metrics.Decided}},
		Services:          services{d.answer},
		Outbox:            d.entrance(),
		Vault:             broker.Vault{Sessions: vault, Queues: vault, Pages: vault, Retained: vault, Wills: vault},
		Auditor:           d.ledger,
		Log:               d.log,
		Version:           d.opts.Version,
		AllSessions:       s.Max,
		MaxSessions:       broker.ShareOfSessions(s.Max, s.PrincipalShare, s.PerPrincipal),
		QueueMessages:     s.QueueMessages,
		QueueBytes:        int(s.QueueBytes),
		TotalQueueBytes:   int64(s.TotalBytes),
		PrincipalBytes:    int64(float64(s.TotalBytes) * s.PrincipalShare),
		Overflow:          overflows[s.Overflow],
		Overflowing:       func(list []broker.SessionOverflow) { warnings.SessionOverflow(d.health, list) },
		Contested:         func(list []broker.Contest) { warnings.ClientIDContested(d.health, list) },
		Crowded:           func(list []broker.Crowd) { warnings.DoorCrowded(d.health, list) },
		HoldUp:            s.Stall,
		HoldUpWindow:      s.SlowLimit,
		MaxRetained:       s.Retained,
		MaxRetainedBytes:  int64(s.RetainedBytes),
		MaxSessionExpiry:  s.MaxExpiry,
		RefuseHold:        d.cfg.Outbox.RefuseAfter,
		MaxPacket:         int(l.MaxPacket),
		MaxTopic:          l.MaxTopicLength,
		MaxLevels:         l.MaxTopicLevels,
		MaxSubscriptions:  l.MaxFilters,
		ReceiveMaximum:    l.ReceiveMaximum,
		TopicAliasMaximum: l.TopicAliasMaximum,
		Buffer:            int(l.WriteBuffer),
		MaxKeepAlive:      l.MaxKeepAlive,
	}
	if d.hub != nil {
		o.Presence = d.hub
	}
	if d.cfg.Cloud.Management.URL != "" {
		o.PolicyKnown = d.synced
	}
	var err error
	d.broker, err = broker.New(o)
	return err
}

// overflows maps the values of sessions.overflow to those of the broker.
var overflows = map[string]broker.Overflow{
	config.OverflowDropOldest: broker.DropOldest,
	config.OverflowDropNewest: broker.DropNewest,
	config.OverflowDisconnect: broker.EndSession,
}

// liveAccess is access.Live as a broker.Access.
type liveAccess struct{ *access.Live }

// Open implements broker.Access.
func (a liveAccess) Open(p *principal.Principal) broker.Rights { return a.Live.Open(p) }

// buildUpdates makes the deployment guard, and the twins, which it protects.
func (d *daemon) buildUpdates() error {
	c := d.cfg.DeviceUpdate
	verifier, err := trust.NewVerifier(string(c.TrustedRoots), c.TrustTestKeys)
	if err != nil {
		return fmt.Errorf("deviceUpdate.trustedRoots: %w", err)
	}
	packages := trust.Packages{Bucket: d.store.Bucket("updates"), Log: d.log}
	if err := packages.Restore(verifier); err != nil {
		return err
	}
	if c.RootKeyPackage != "" {
		older, err := packages.Use(verifier, string(c.RootKeyPackage))
		if err != nil {
			return fmt.Errorf("deviceUpdate.rootKeyPackage: %w", err)
		}
		warnings.RootKeyPackage(d.health, older)
	}
	as := d.cfg.Instance.DeviceUpdate.Principal
	d.rights = d.access.Deployments(model.Identity{Kind: model.ServicePrincipalID, Object: as.ObjectID, Tenant: as.TenantID}, d.clock.Now)
	d.guard = update.New(update.Options{
		Authorizer:     d.rights,
		Journal:        twins.Journal{Bucket: d.store.Bucket("deployments"), Stamp: func() { d.keeper.Record(nil) }},
		Verifier:       verifier,
		Hosts:          manifest.Hosts{Allowed: c.AllowedHosts},
		RequireRecords: c.Records == config.RecordsRequired,
		StuckAfter:     c.StuckAfter,
		Silent:         c.Silent,
		Now:            d.clock.Now,
		Audit:          func(r update.AuditRecord) { d.ledger.Audit(audit.Deployment(r)) },
		Recheck:        func(id string) { d.twins.Recheck(id) },
	})
	if err := d.guard.Load(); err != nil {
		return err
	}
	d.twins = twins.New(twins.Options{
		Upstream:    d.twinLink(),
		Store:       d.store.Bucket("twins"),
		Guard:       d.guard,
		Local:       d.guard.Local,
		Send:        d.sendPrivate,
		SendSession: d.broker.SendSession,
		Present:     d.present,
		Owner:       d.ownerOf,
		Initiator:   access.Initiator,
		Self:        d.self(),
		Log:         d.log,
		Now:         d.clock.Now,
	})
	return d.twins.Load()
}

// sendPrivate delivers to the connections of one device or module, and names it in the
// message's route, because the delivery is also decided by that.
func (d *daemon) sendPrivate(key string, m *message.Message) int {
	if id, ok := strings.CutPrefix(key, "module:"); ok {
		m.Via.Device, m.Via.Module, _ = strings.Cut(id, "/")
	} else {
		m.Via.Device = strings.TrimPrefix(key, "device:")
	}
	return d.broker.Send(key, m)
}

// self is the gateway as a publisher.
func (d *daemon) self() *principal.Principal {
	return &principal.Principal{Kind: principal.Gateway, Key: "gateway", Name: "gateway", Subject: model.Subject{}}
}
