package access

import (
	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// outcome is the answer to a question before report-only mode is applied and before it becomes
// a message.Verdict.
type outcome struct {
	ok     bool
	reason string
	detail string
	code   byte // MQTT 5 reason code; 0: NotAuthorized
}

func refuse(reason, detail string) outcome { return outcome{reason: reason, detail: detail} }

// decider answers questions about one principal on one set of snapshots. It is made for one
// question and does not outlive it.
type decider struct {
	*env
	p     *principal.Principal
	trace *trace // collects the steps for Explain; nil for a real operation
}

// decide asks the policy whether the principal may do op at the place.
func (d *decider) decide(op model.Operation, at place) (bool, string, authz.Decision) {
	if d.selfGranted(op, at) {
		d.trace.step(op, at, true, SelfGrant, authz.Decision{})
		return true, SelfGrant, authz.Decision{}
	}
	dec := d.policy.Decide(&d.p.Subject, op, at.path)
	d.trace.step(op, at, dec.Allowed, dec.Reason.String(), dec)
	return dec.Allowed, dec.Reason.String(), dec
}

// selfGranted implements access.device_self_grant: a device with status Active may do Read
// Device, Read Sensor and Create Sensor on itself and its own sensors, and on nothing else.
func (d *decider) selfGranted(op model.Operation, at place) bool {
	if !d.set.selfGrant || at.node.IsZero() || at.node != d.p.Node {
		return false
	}
	if d.p.Kind != principal.Device && d.p.Kind != principal.Module {
		return false
	}
	switch {
	case op.Type == model.Device && op.Access == model.Read:
	case op.Type == model.Sensor && (op.Access == model.Read || op.Access == model.Create):
	default:
		return false
	}
	dev, ok := d.topology.Device(at.node)
	return ok && dev.Status == device.Active
}

// meets decides whether the principal holds what is needed at every one of the places.
func (d *decider) meets(n need, places ...place) outcome {
	if n.never() {
		return refuse(NeverPublish, "")
	}
	last := Granted
	for i, op := range n.ops {
		held := true
		for _, at := range places {
			ok, reason, dec := d.decide(op, at)
			if last = reason; !ok {
				held = false
				if n.all || i == len(n.ops)-1 {
					return outcome{reason: reason, detail: miss(n, at, dec)}
				}
				break
			}
		}
		if held && !n.all {
			break
		}
	}
	return outcome{ok: true, reason: last}
}

func miss(n need, at place, dec authz.Decision) string {
	s := "needs " + n.String() + " at " + at.path.String()
	if r := dec.Outcome(); !r.Assignment.IsZero() {
		s += ", closest: assignment " + r.Assignment.String() + " of role " + r.Role.String()
	}
	return s
}

// actsFor decides whether the principal acts for the device (docs/spec/semantics.md 3.2): it is
// the device itself, or a gateway above it in the chain that the devices' records name. Only a
// device can act for one.
func (d *decider) actsFor(dev *device.Device) bool {
	ok := d.p.Kind == principal.Device && d.topology.ActsFor(d.p.Node, dev)
	d.trace.note("acts for", dev.HubID, ok)
	return ok
}

// self returns the principal's own device (of a module: the device that it belongs to), or a
// refusal if the registry does not let it connect.
func (d *decider) self() (*device.Device, outcome) {
	if d.p.Kind != principal.Device && d.p.Kind != principal.Module {
		return nil, refuse(NotOwn, "only a device or module has a twin, methods and messages of its own")
	}
	dev, ok := d.topology.Device(d.p.Node)
	switch {
	case !ok || dev.HubID != d.p.DeviceID:
		return nil, refuse(UnknownDevice, "")
	case dev.Status != device.Active:
		return nil, refuse(InactiveDevice, "")
	}
	if d.p.Kind == principal.Module {
		if _, ok := dev.Module(d.p.ModuleID); !ok {
			return nil, refuse(UnknownModule, "")
		}
	}
	return dev, outcome{ok: true}
}

func (d *decider) devicePlace(dev *device.Device) place {
	return place{d.topology.DevicePath(dev), dev.ID}
}

func (d *decider) sensorPlace(s *device.Sensor) place {
	return place{d.topology.SensorPath(s), s.Device}
}

// ownRight decides the rows that need only the principal's own identity and Read Device on its
// own device.
func (d *decider) ownRight() outcome {
	dev, out := d.self()
	if !out.ok {
		return out
	}
	return d.meets(readDevice, d.devicePlace(dev))
}

// ownModule reports whether the principal is exactly the module that the topic names.
func (d *decider) ownModule(b *binding) bool {
	return d.p.Kind == principal.Module && !b.device.any && !b.module.any &&
		b.device.text == d.p.DeviceID && b.module.text == d.p.ModuleID
}

// connect decides whether the principal may be connected.
func (d *decider) connect() outcome {
	switch d.p.Kind {
	case principal.Gateway:
		return outcome{ok: true, reason: ItsGateway}
	case principal.Upstream: // does not connect to a listener; the configuration of its link admits it
		return outcome{ok: true, reason: Granted}
	case principal.Device, principal.Module:
		return d.ownRight()
	case principal.Function:
		if _, ok := d.topology.Function(d.functionID()); !ok {
			return refuse(UnknownFunc, "")
		}
	case principal.User, principal.ServicePrincipal, principal.Local:
	default:
		return refuse(UnknownKind, "")
	}
	if !d.anyGrant(&d.p.Subject) {
		return refuse(NoGrant, "not one effective grant on this site, its hub or its instance")
	}
	if d.stage == offline.Restricted && d.p.Kind != principal.Function && !d.named() {
		return refuse(StageRefused,
			"no grant names this principal itself, and the cloud has not been seen for too long to trust a group, tenant or domain")
	}
	return outcome{ok: true, reason: Granted}
}

func (d *decider) anyGrant(s *model.Subject) bool {
	scopes := make([]string, 0, 2)
	for _, scope := range [...]string{d.set.hubScope, d.set.instanceScope} {
		if scope != "" {
			scopes = append(scopes, scope)
		}
	}
	ok := d.policy.HasAnyGrant(s, d.set.site, scopes...)
	d.trace.note("any grant", d.set.site.String(), ok)
	return ok
}

// named reports whether a grant names the principal itself, and not only its tenant or its
// domain. In the restricted stage nothing can confirm that the principal still belongs to
// those, or to a group, so they do not count.
func (d *decider) named() bool {
	own := model.Subject{Object: d.p.Subject.Object, GroupsKnown: true}
	for _, i := range d.p.Subject.Identities {
		if i.Kind != model.TenantID && i.Kind != model.DomainName {
			own.Identities = append(own.Identities, i)
		}
	}
	return d.anyGrant(&own)
}

func (d *decider) functionID() (id space.ID) {
	for _, i := range d.p.Subject.Identities {
		if i.Kind == model.UserDefinedFunctionID {
			id = i.Object
		}
	}
	return id
}

// acting returns the device that the topic names, or a refusal if the principal does not act
// for it.
func (d *decider) acting(b *binding) (*device.Device, outcome) {
	if b.device.any {
		return nil, refuse(NotActingFor, "the filter covers every device")
	}
	dev, ok := d.topology.DeviceByHubID(b.device.text)
	switch {
	case !ok:
		return nil, refuse(UnknownDevice, b.device.text)
	case !d.actsFor(dev):
		return nil, refuse(NotActingFor, "")
	}
	return dev, outcome{ok: true}
}
