package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
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
	warnings.ClockJump(d.health, raised, ahead)
}

// cloudClockDoubt is the alarm for a cloud that is far from the mark of time.
func (d *daemon) cloudClockDoubt(raised bool, ahead time.Duration) {
	warnings.CloudClock(d.health, raised, ahead)
	d.ledger.ClockInDoubt(d.clock.Now(), raised, ahead)
}

// resetClock is an operator's word that the mark of time is wrong.
func (d *daemon) resetClock(context.Context) (admin.ClockResult, error) {
	was, now := d.clock.Reset()
	d.staging.NotAfter(now)
	err := d.store.Cache().ResetHighWater(now)
	d.ledger.ClockReset(now, was)
	if d.replica != nil {
		d.replica.Wake() // the cloud says at once whether the cache is current
	}
	return admin.ClockResult{Was: was.UTC(), Now: now.UTC()}, err
}

// stageChanged tells everybody that the cache has aged, or is fresh again.
func (d *daemon) stageChanged(from, to offline.Stage, age time.Duration) {
	d.log.Info("offline stage", "from", from.String(), "to", to.String(), "age", age.Round(time.Second))
	if d.ledger != nil {
		d.ledger.Stage(d.clock.Now(), from, to)
	}
	warnings.PolicyAge(d.health, to, age)
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
	warnings.Refused(e.d.health, policy, registry)
	e.d.noteShared()
}

// Revoke implements policy.Effects.
func (e policyEffects) Revoke(ctx context.Context, concerned func(*principal.Principal) bool) (time.Duration, error) {
	return e.d.revoke(ctx, concerned)
}

// Forget implements policy.Effects.
func (e policyEffects) Forget(gone []device.Departed) { e.d.forget(gone) }

// Changed implements policy.Effects.
func (e policyEffects) Changed(c policy.Change) { e.d.policyChanged(c) }

// policyChanged is called after a change took effect.
func (d *daemon) policyChanged(c policy.Change) {
	d.metrics.Revoked(c.Revocation)
	if d.hub != nil {
		d.hub.RegistryChanged()
	}
	warnings.PolicyStored(d.health, c.Stored)
	if c.Stored {
		d.heard()
	}
	d.ledger.PolicyChanged(d.clock.Now(), c.From, c.To, c.Took, c.Revocation)
	d.log.Info("policy changed",
		"from", c.From.String(), "to", c.To.String(), "full", c.Full, "took", c.Took, "revocation", c.Revocation)
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
		d.ledger.DeviceGone(d.clock.Now(), id)
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
	d.ledger.NotServed(d.clock.Now(), p.Key, m.Topic)
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
