package gateway

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/console"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/metrics"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/systemd"
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
	if d.adminSocket == nil {
		if d.adminSocket, err = admin.Listen(string(d.cfg.Admin.Socket)); err != nil {
			return nil, fmt.Errorf("admin.socket: %w", err)
		}
	}
	watchdog, err := systemd.NewWatchdog(d.notify, watchdogIdle, d.selfTest, func(err error) {
		d.health.Set(err != nil, "self-test", health.Failing, fmt.Sprint("the round trip through the broker failed: ", err), "journalctl -u gatehoused; systemd restarts the daemon when this lasts")
	})
	if err != nil {
		return nil, err
	}
	actors := []actor{
		{name: "admin socket", run: func(ctx context.Context) error { return server.ServeSocket(ctx, d.adminSocket) }},
		{name: "watchdog", run: watchdog.Run},
	}
	if d.page != nil {
		actors = append(actors, actor{name: "status page", run: func(ctx context.Context) error { return server.ServeLoopback(ctx, d.page) }})
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

// selfTest is a real round trip: a message through the broker's plane, and a
// record through the store.
func (d *daemon) selfTest(ctx context.Context) error {
	d.acceptance(d.broker.Stats().AcceptErrors)
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

// doctor looks at what operators get wrong.
func (d *daemon) doctor(ctx context.Context) ([]admin.Finding, error) {
	var list []admin.Finding
	add := func(name, state, text, next string) {
		list = append(list, admin.Finding{Name: name, State: state, Text: text, Next: next})
	}
	for _, p := range d.identity.Problems() {
		add("certificate-authority", "warn", p.Error(), "renew or remove it in the cloud")
	}
	if d.cfg.Instance.DeviceUpdate.ARMScope != "" && d.cfg.Instance.DeviceUpdate.Principal.ObjectID.IsZero() {
		add("device-update-principal", "warn", "instance.deviceUpdate.principal is not set: every deployment from upstream is refused",
			"az ad sp show --id 6ee392c4-d339-4083-b04d-6b7947c6cf78 --query id names the object id in your tenant")
	}
	if g, err := d.store.Cache().Load(ctx); err == nil {
		for _, a := range g.Policy.Assignments {
			if a.Path.IsRoot() {
				add("root-assignment", "notice", fmt.Sprintf("assignment %s gives a role at / to %s", a.ID, d.label(a.Who)), "assign it at the lowest space that will do")
			}
		}
	}
	for _, w := range d.health.Report().Warnings {
		state := "warn"
		if w.Severity == health.Failing {
			state = "fail"
		}
		add(w.Name, state, w.Text, w.Next)
	}
	if d.staging.Stage() == offline.Fresh {
		add("policy", "ok", fmt.Sprintf("version %s, confirmed %s ago", d.policy.Index().Version(), d.staging.Age().Round(time.Second)), "")
	}
	return list, nil
}

func (d *daemon) syncNow(ctx context.Context, r admin.SyncRequest) (admin.SyncResult, error) {
	if d.replica == nil {
		return admin.SyncResult{}, &admin.Error{Status: http.StatusConflict, What: "no management API is configured", Where: "cloud.management.url", Next: "configure it; until then the gateway lives from its cache"}
	}
	return d.syncRound(ctx, r)
}
