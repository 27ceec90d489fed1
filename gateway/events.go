package gateway

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// What happens in one room and matters to others.

// healthChanged logs a warning as it comes and goes.
func (d *daemon) healthChanged(c health.Change) {
	w := c.Warning
	if c.Raised {
		d.log.Warn(w.Text, "warning", w.Name, "severity", w.Severity.String(), "next", w.Next)
	} else {
		d.log.Info("mended: "+w.Text, "warning", w.Name)
	}
}

func (d *daemon) clockAlarm(raised bool, ahead time.Duration) {
	d.health.Set(raised, "clock-jump", health.Degraded,
		fmt.Sprintf("the system clock is %s ahead of what the cloud last confirmed", ahead.Round(time.Minute)),
		"check the clock (timedatectl); the offline stage does not follow it until the cloud confirms the time")
}

// cloudClockDoubt is the alarm for a cloud that is far from the mark of time.
func (d *daemon) cloudClockDoubt(raised bool, ahead time.Duration) {
	text := fmt.Sprintf("the cloud says that it is %s later than this gateway knows; that is not believed until another connection confirms it", ahead.Round(time.Minute))
	if ahead < 0 {
		text = fmt.Sprintf("this gateway reckons %s ahead of the cloud: a wrong time was believed once, and credentials end too early", (-ahead).Round(time.Minute))
	}
	d.health.Set(raised, "cloud-clock", health.Degraded, text,
		"check this machine's clock (timedatectl) and the cloud's; once this machine's is right: gatehousectl reset-clock")
	d.ledger.Audit(message.AuditRecord{Time: d.clock.Now(), Event: "clock", Allowed: !raised, Reason: "cloud-clock", Detail: fmt.Sprintf("the cloud is ahead by %s, in doubt: %t", ahead.Round(time.Second), raised), Count: 1})
}

// resetClock is an operator's word that the mark of time is wrong.
func (d *daemon) resetClock(context.Context) (admin.ClockResult, error) {
	was, now := d.clock.Reset()
	d.staging.NotAfter(now)
	err := d.store.Cache().ResetHighWater(now)
	d.ledger.Audit(message.AuditRecord{Time: now, Event: "clock", Allowed: true, Reason: "operator", Detail: fmt.Sprintf("the mark of time was reset from %s", was.UTC().Format(time.RFC3339)), Count: 1})
	if d.replica != nil {
		d.replica.Wake() // the cloud says at once whether the cache is current
	}
	return admin.ClockResult{Was: was.UTC(), Now: now.UTC()}, err
}

// stageChanged tells everybody that the cache has aged, or is fresh again.
func (d *daemon) stageChanged(from, to offline.Stage, age time.Duration) {
	d.log.Info("offline stage", "from", from.String(), "to", to.String(), "age", age.Round(time.Second))
	if d.ledger != nil {
		d.ledger.Audit(message.AuditRecord{Time: d.clock.Now(), Event: "stage", Allowed: true, Reason: to.String(), Detail: "was " + from.String(), Count: 1})
	}
	severity := health.Degraded
	if to == offline.Expired {
		severity = health.Failing
	}
	d.health.Set(to != offline.Fresh, "cache-age", severity, fmt.Sprintf("the policy is %s: the cloud last confirmed it %s ago", to, age.Round(time.Second)),
		"see that cloud.management can be reached (gatehousectl sync says what fails)")
	if !d.served() || from < offline.Restricted && to < offline.Restricted {
		return
	}
	// Rights depend on the stage from here on: sessions are decided again.
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := d.revoke(ctx, everyone); err != nil {
			d.log.Error("the change of stage did not reach every session", "err", err)
		}
	}()
}

// served tells whether clients may be connected. Asked of the broker itself: a
// flag that is set a moment later would let who connects in that moment keep
// what it lost.
func (d *daemon) served() bool {
	if d.broker == nil {
		return false
	}
	select {
	case <-d.broker.Ready():
		return true
	default:
		return false
	}
}

// policyEffects is what a change of policy brings about in the other rooms.
type policyEffects struct{ d *daemon }

// Problems implements policy.Effects.
func (e policyEffects) Problems(policy []authz.Problem, registry []device.Problem) {
	e.d.policyProblems(policy, registry)
}

// Revoke implements policy.Effects.
func (e policyEffects) Revoke(ctx context.Context, concerned func(*principal.Principal) bool) (time.Duration, error) {
	return e.d.revoke(ctx, concerned)
}

// Forget implements policy.Effects.
func (e policyEffects) Forget(gone []device.Departed) { e.d.forget(gone) }

// Changed implements policy.Effects.
func (e policyEffects) Changed(c policy.Change) { e.d.policyChanged(c) }

func (d *daemon) policyProblems(policy []authz.Problem, topology []device.Problem) {
	d.health.Set(len(policy) > 0, "policy-problems", health.Degraded, health.Listed("parts of the policy grant nothing", policy), "gatehousectl assignments shows them; correct them in the cloud")
	d.health.Set(len(topology) > 0, "topology-problems", health.Degraded, health.Listed("records of the registry are refused", topology), "correct the records in the cloud: device ids, hardware ids and thumbprints are unique")
}

// policyChanged is called after a change took effect.
func (d *daemon) policyChanged(c policy.Change) {
	d.metrics.Revoked(c.Revocation)
	if d.hub != nil {
		d.hub.RegistryChanged()
	}
	if c.Stored {
		d.health.Clear("cache-empty")
		d.health.Clear("cache-dirty")
		d.heard()
	} else {
		d.health.Raise("cache-dirty", health.Failing, "a change of rights could not be stored: only its losses are in force", "free space on the state directory")
	}
	detail := fmt.Sprintf("from %s in %s, revocation confirmed after %s", c.From, c.Took.Round(time.Microsecond), c.Revocation.Round(time.Microsecond))
	d.ledger.Audit(message.AuditRecord{Time: d.clock.Now(), Event: "sync", Allowed: true, Reason: "policy-changed", Detail: detail, Version: c.To.String(), Count: 1})
	d.log.Info("policy changed", "from", c.From.String(), "to", c.To.String(), "full", c.Full, "took", c.Took, "revocation", c.Revocation)
}

// everyone is true of every principal: the rights of all may have changed.
func everyone(*principal.Principal) bool { return true }

// revoke takes from live and stored sessions what they may no longer have, and returns when
// that is confirmed.
func (d *daemon) revoke(ctx context.Context, hit func(*principal.Principal) bool) (time.Duration, error) {
	began := time.Now()
	var rechecked error
	if d.served() {
		_, rechecked = d.broker.Recheck(ctx, hit)
	}
	took := time.Since(began)
	// The guard asks again even if a session could not be confirmed: what waits
	// for a device must not be released by a right that is gone.
	return took, errors.Join(rechecked, d.guard.Reauthorize(ctx))
}

// forget deletes what devices left behind that no longer exist, so that
// another device of the same name inherits nothing.
func (d *daemon) forget(gone []device.Departed) {
	for _, was := range gone {
		id := was.Name
		d.broker.Forget(func(p *principal.Principal) bool { return p.OfRecord(was.Name, was.ID) })
		d.twins.Forget(id) // and the guard's record, each after what it is doing
		d.ledger.Audit(message.AuditRecord{Time: d.clock.Now(), Event: "revoke", Allowed: true, Principal: "device:" + id, Reason: "device-deleted", Detail: "sessions, queued and retained messages, twin and deployment state are gone", Count: 1})
	}
}

// ownerOf is whose twin an identity's is now (twins.Options.Owner).
func (d *daemon) ownerOf(id string) string {
	hub, _, _ := strings.Cut(id, "/")
	dev, ok := d.policy.Topology().DeviceByHubID(hub)
	if !ok {
		return ""
	}
	return dev.ID.String()
}

// services is broker.Services.
type services struct {
	answer func(p *principal.Principal, session string, m *message.Message, done func(code byte))
}

// Handle implements broker.Services.
func (s services) Handle(p *principal.Principal, session string, m *message.Message, done func(code byte)) {
	s.answer(p, session, m, done)
}

// answer has a request to the gateway itself answered by the package whose it is.
func (d *daemon) answer(p *principal.Principal, session string, m *message.Message, done func(code byte)) {
	if d.twins.Handle(p, session, m, done) || d.registrar.Handle(p, session, m, done) {
		return
	}
	d.ledger.Audit(message.AuditRecord{Time: d.clock.Now(), Event: "publish", Principal: p.Key, Topic: m.Topic, Reason: "not-served", Detail: "no service answers this", Count: 1})
	done(message.ImplementationSpecificError)
}

// present tells whether a desired patch would reach the principal now: what is
// released to one that does not listen would be seen later, undecided.
func (d *daemon) present(key string) bool {
	return d.broker.Subscribed(key, "$iothub/twin/PATCH/properties/desired/?$version=0")
}

// statusLine is what systemctl status shows: whether the start is over, and the
// summary that inspect makes of the same values as gatehousectl status.
func (d *daemon) statusLine() string {
	if d.serving.Load() {
		return "serving; " + d.inspector.Summary()
	}
	return "starting; " + d.inspector.Summary()
}
