package access

import (
	"strings"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// publish decides whether the principal may publish on this topic, and fills in the route. A
// refused publish has a route as well, as far as it is known, because a row in report-only mode
// lets the publish pass.
func (d *decider) publish(b *binding, name string, m *message.Message, r *message.Route) outcome {
	r.Topic = name
	r.Device, r.Module = b.device.text, b.module.text
	if d.p.Kind == principal.Upstream && d.closedToUpstream(name) {
		return refuse(ForUpstream, "")
	}
	switch b.row.kind {
	case kindTelemetry, kindModuleTelemetry:
		return d.publishTelemetry(b, name, r)
	case kindDevicebound:
		return d.publishDevicebound(b, name, r)
	case kindModuleInbound:
		// Only the IoT hub sends to a module, through the upstream link.
		if d.p.Kind != principal.Upstream {
			return refuse(NeverPublish, "")
		}
		return d.publishDevicebound(b, name, r)
	case kindTwinGet, kindTwinReported, kindMethodResponse:
		return d.publishOwn(b, r)
	case kindRegistryGet, kindRegistryCreate:
		return d.publishRegistry(b, m, r)
	case kindDeployment, kindDeploymentGet:
		return d.publishDeployment(b, m, r)
	case kindOperator:
		return d.publishOperator(b, r)
	}
	return refuse(NeverPublish, "")
}

func (d *decider) closedToUpstream(name string) bool {
	return name[0] == '$' || strings.HasPrefix(name, "spaces/") || strings.HasPrefix(name, "registry/") ||
		strings.HasPrefix(name, "deviceupdate/")
}

// publishTelemetry decides telemetry of a device: the publisher must act for the device that
// the topic names, and hold Create Sensor or Update Sensor at the path of the sensor that the
// property bag names (of the device, if it names none).
func (d *decider) publishTelemetry(b *binding, name string, r *message.Route) outcome {
	r.Handling = message.Telemetry
	bag, err := parseBag(b.bag.text)
	if err != nil {
		return outcome{reason: BadBag, detail: err.Error(), code: message.TopicNameInvalid}
	}
	if k := reservedKey(bag); k != "" {
		return outcome{reason: ReservedKey, detail: k, code: message.TopicNameInvalid}
	}
	head := name[:len(name)-len(b.bag.text)]
	if !b.bag.bound { // devices/{D}/messages/events, without the '/' before the bag
		head += "/"
	}
	r.Properties, r.Topic = bag, canonical(name, head, b.bag.text, bag)
	r.Sensor, _ = sensorIn(bag)

	dev, ok := d.topology.DeviceByHubID(b.device.text)
	if !ok {
		return refuse(UnknownDevice, b.device.text)
	}
	if b.row.kind == kindModuleTelemetry {
		if _, out := d.self(); !out.ok || !d.ownModule(b) {
			return refuse(NotActingFor, "only the module itself publishes as a module")
		}
	} else if !d.actsFor(dev) {
		return refuse(NotActingFor, "")
	}
	at, owner := d.devicePlace(dev), dev
	if hardware, named := sensorIn(bag); named {
		s, ok := d.topology.SensorByHardwareID(hardware)
		if !ok {
			return refuse(UnknownSensor, hardware)
		}
		if owner, ok = d.topology.Device(s.Device); !ok {
			return refuse(UnknownSensor, "its device is not known")
		}
		if owner.ID != dev.ID && (b.row.kind == kindModuleTelemetry || !d.topology.ActsFor(dev.ID, owner)) {
			return refuse(ForeignSensor, hardware)
		}
		at = d.sensorPlace(s)
	}
	r.Origin = owner.HubID
	if !at.path.IsZero() {
		r.Mirror = mirror(at, owner)
	}
	return d.meets(feedSensor, at)
}

// mirror returns the topic on which a reading is also published:
// spaces/{path}/devices/{owner}/events.
func mirror(at place, owner *device.Device) string {
	var usual [320]byte // stays on the stack
	b := append(usual[:0], "spaces"...)
	if !at.path.IsRoot() {
		b = at.path.Append(b) // begins with '/'
	}
	b = append(append(b, "/devices/"...), owner.HubID...)
	return string(append(b, "/events"...))
}

// publishDevicebound decides a cloud-to-device message: the publisher needs Update Device at
// the path of the device that the topic names. A user, a service or a link need not act for the
// device. A publisher that is a device must, as on every other row; a module acts for no
// device, so it is refused.
func (d *decider) publishDevicebound(b *binding, name string, r *message.Route) outcome {
	r.Handling, r.Origin = message.CloudToDevice, b.device.text
	r.OnBehalf = d.p.Kind != principal.Device && d.p.Kind != principal.Module
	bag, err := parseBag(b.bag.text)
	if err != nil {
		return outcome{reason: BadBag, detail: err.Error(), code: message.TopicNameInvalid}
	}
	if k := reservedKey(bag); k != "" && d.p.Kind != principal.Upstream {
		return outcome{reason: ReservedKey, detail: k, code: message.TopicNameInvalid}
	}
	head := name[:len(name)-len(b.bag.text)]
	if !b.bag.bound {
		head += "/"
	}
	r.Properties, r.Topic = bag, canonical(name, head, b.bag.text, bag)
	dev, ok := d.topology.DeviceByHubID(b.device.text)
	if !ok {
		return refuse(UnknownDevice, b.device.text)
	}
	if !r.OnBehalf && !d.actsFor(dev) {
		return refuse(NotActingFor, "")
	}
	return d.meets(updateDevice, d.devicePlace(dev))
}

// publishOwn decides a request for the device's or module's own twin, and its answer to a
// direct method.
func (d *decider) publishOwn(b *binding, r *message.Route) outcome {
	r.Device, r.Module, r.Origin = d.p.DeviceID, d.p.ModuleID, d.p.DeviceID
	r.Status = b.status
	switch b.row.kind {
	case kindTwinGet:
		r.Handling = message.TwinGet
	case kindTwinReported:
		r.Handling = message.TwinReported
	default:
		r.Handling = message.MethodResponse
	}
	rid, ok := requestID(b.query.text)
	if !ok {
		return outcome{reason: BadRequest, detail: "want ?$rid=…", code: message.TopicNameInvalid}
	}
	r.Request = rid
	return d.ownRight()
}

// publishRegistry decides a request to the registry: get needs Read Device, create needs Create
// Sensor, both at the device's path. The Gateway Device role grants both.
func (d *decider) publishRegistry(b *binding, m *message.Message, r *message.Route) outcome {
	r.Handling, r.Name = message.Registry, "get"
	n := readDevice
	if b.row.kind == kindRegistryCreate {
		r.Name, r.Object, r.Sensor, n = "create", b.sensor.text, b.sensor.text, createSensor
	}
	if out := answerTo(b, m, "registry/responses/", r); !out.ok {
		return out
	}
	if b.sensor.bound && device.CheckID(b.sensor.text) != nil {
		return outcome{reason: BadRequest, detail: "no such hardware id can be", code: message.TopicNameInvalid}
	}
	dev, ok := d.topology.DeviceByHubID(b.device.text)
	if !ok {
		return refuse(UnknownDevice, b.device.text)
	}
	r.Origin = dev.HubID
	if b.row.kind == kindRegistryCreate && d.stage >= offline.Restricted {
		return refuse(StageRefused, "an administrative write")
	}
	return d.meets(n, d.devicePlace(dev))
}

// publishDeployment decides a deployment action of a local user or service principal, by its
// rights at the Device Update instance (docs/spec/semantics.md 5.1). A device has no rights
// there.
func (d *decider) publishDeployment(b *binding, m *message.Message, r *message.Route) outcome {
	r.Handling, r.Name, r.Object = message.Deployment, b.action.text, b.name.text
	if b.row.kind == kindDeploymentGet {
		r.Name = string(update.Get)
	}
	action := update.Action(r.Name)
	if out := answerTo(b, m, "deviceupdate/responses/", r); !out.ok {
		return out
	}
	switch d.p.Kind {
	case principal.User, principal.ServicePrincipal, principal.Local:
	default:
		return refuse(NotInitiator, "deployments are asked for by a user or a service principal")
	}
	if d.set.instanceScope == "" {
		return refuse(NoInstance, "deviceUpdate.armScope is not configured")
	}
	dev, ok := d.topology.DeviceByHubID(b.device.text)
	if !ok {
		return refuse(UnknownDevice, b.device.text)
	}
	r.Origin = dev.HubID
	// A cancel passes here. If the device has been shown the deployment already, which only the
	// guard knows, the guard asks again for update.CancelReleased.
	if d.stage >= offline.Restricted && beginsWork(action) {
		return refuse(StageRefused, "a new deployment action")
	}
	for _, n := range deploymentNeeds(false, action, d.set) {
		data, dec := n.ask(d.policy, &d.p.Subject)
		d.trace.action(data, n.scope, dec)
		if !dec.Allowed {
			return refuse(dec.Reason.String(), "needs "+data+" at "+n.scope)
		}
	}
	return outcome{ok: true, reason: Granted}
}

// answerTo finds where the answer goes: to the MQTT 5 response topic, which must be a private
// one (head followed by a request id), or to the $rid in the topic. A request with both is
// refused, because they could disagree.
func answerTo(b *binding, m *message.Message, head string, r *message.Route) outcome {
	var response string
	if m != nil {
		response = m.Props.ResponseTopic
	}
	switch {
	case response != "" && b.query.bound:
		return outcome{reason: BadRequest, detail: "a response topic and a $rid"}
	case response != "":
		rid, ok := strings.CutPrefix(response, head)
		if !ok || !plainID(rid) {
			return refuse(BadResponse, "answers go to "+head+"{rid}")
		}
		r.Request = rid
	case b.query.bound:
		rid, ok := requestID(b.query.text)
		if !ok {
			return outcome{reason: BadRequest, detail: "want ?$rid=…", code: message.TopicNameInvalid}
		}
		r.Request = rid
	}
	return outcome{ok: true}
}
