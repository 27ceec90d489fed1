package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// This file has the functions by which a part of the daemon tells others what happened.

// healthChanged logs that a warning was raised or cleared.
func (d *daemon) healthChanged(c health.Change) {
	w := c.Warning
	if c.Raised {
		d.log.Warn(w.Text, "warning", w.Name, "severity", w.Severity.String(), "next", w.Next)
	} else {
		d.log.Info("mended: "+w.Text, "warning", w.Name)
	}
}

// stageChanged tells the other parts that the cached policy has aged into another stage, or is fresh again.
func (d *daemon) stageChanged(from, to offline.Stage, age time.Duration) {
	d.keeper.Keep() // or a power cut would take the stage back, with up to a minute of the mark
	d.log.Info("offline stage", "from", from.String(), "to", to.String(), "age", age.Round(time.Second))
	if d.ledger != nil {
		d.ledger.Stage(d.clock.Now(), from, to)
	}
	warnings.PolicyAge(d.health, to, age)
	if !d.served() || from < offline.Restricted && to < offline.Restricted {
		return
	}
	// Rights depend on the stage, so all sessions are decided again.
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if _, err := d.revoke(ctx, principal.Everyone()); err != nil {
			d.log.Error("the change of stage did not reach every session", "err", err)
		}
	}()
}

// served tells whether clients may be connected. It asks the broker. With a flag that is
// set a moment after the broker began to accept, a client that connects in that moment
// would keep a right that is revoked then.
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

// policyEffects does in the other parts what follows from a change of policy.
type policyEffects struct{ d *daemon }

// Problems implements policy.Effects.
func (e policyEffects) Problems(policy []authz.Problem, registry []device.Problem) {
	warnings.Refused(e.d.health, policy, registry)
	e.d.noteShared()
}

// Revoke implements policy.Effects.
func (e policyEffects) Revoke(ctx context.Context, concerned principal.Concerned) (time.Duration, error) {
	return e.d.revoke(ctx, concerned)
}

// Forget implements policy.Effects.
func (e policyEffects) Forget(gone []device.Departed) { e.d.forget(gone) }

// Changed implements policy.Effects.
func (e policyEffects) Changed(c policy.Change) { e.d.policyChanged(c) }

// policyChanged is called after a change of policy was put into force.
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

// revoke has the live and stored sessions of the principals in hit decided again, and returns
// when it is confirmed that they have lost what they may no longer do.
func (d *daemon) revoke(ctx context.Context, hit principal.Concerned) (time.Duration, error) {
	began := time.Now()
	var rechecked error
	if d.served() {
		_, rechecked = d.broker.Recheck(ctx, hit)
	}
	took := time.Since(began)
	// The guard decides its deployments again even if a session was not confirmed: one that
	// waits for a device must not be released by a right that is gone.
	return took, errors.Join(rechecked, d.guard.Reauthorize(ctx))
}

// forget deletes the state of devices that no longer exist, so that a new device of the
// same name inherits nothing.
func (d *daemon) forget(gone []device.Departed) {
	for _, was := range gone {
		id := was.Name
		d.broker.Forget(func(p *principal.Principal) bool { return p.OfRecord(was.Name, was.ID) })
		d.twins.Forget(id) // also deletes the guard's record; each waits for what it is doing with the device
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

// answer passes a request to the gateway itself to the package that answers its kind.
func (d *daemon) answer(p *principal.Principal, session string, m *message.Message, done func(code byte)) {
	if d.twins.Handle(p, session, m, done) || d.registrar.Handle(p, session, m, done) {
		return
	}
	d.ledger.NotServed(d.clock.Now(), p.Key, m.Topic)
	done(message.ImplementationSpecificError)
}

// present tells whether a desired patch would reach the principal now. A deployment that
// is released to a device that does not listen would be read later, without being
// decided again.
func (d *daemon) present(key string) bool {
	return d.broker.Subscribed(key, "$iothub/twin/PATCH/properties/desired/?$version=0")
}

// statusLine is the STATUS= line of systemctl status: whether the start is over, and the
// summary that inspect makes from the same values as gatehousectl status.
func (d *daemon) statusLine() string {
	if d.serving.Load() {
		return "serving; " + d.inspector.Summary()
	}
	return "starting; " + d.inspector.Summary()
}
