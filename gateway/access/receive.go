package access

import (
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// receive decides whether the principal may read the topics that the binding stands for. A
// device, sensor or space that does not exist, or not yet, counts as lying at "/".
func (d *decider) receive(b *binding) outcome {
	switch b.row.kind {
	case kindTelemetry, kindModuleTelemetry:
		return d.receiveTelemetry(b)
	case kindDevicebound:
		return d.receiveAsDevice(b, readDevice)
	case kindModuleInbound:
		if !d.ownModule(b) {
			return refuse(NotOwn, "a module's messages are its own")
		}
		return d.ownRight()
	case kindTwinResult, kindTwinDesired, kindMethodCall:
		return d.ownRight()
	case kindRegistryAnswer, kindDeploymentAnswer:
		return outcome{ok: true, reason: PrivateAnswer}
	case kindMirror:
		return d.meets(readSensor, place{path: b.path})
	case kindSys:
		return d.meets(readSystem, anywhere)
	case kindOperator:
		return d.readOperator(b)
	}
	return refuse(NeverRead, "")
}

// receiveTelemetry decides reading a device's telemetry: the principal must act for the device
// that the topic names, and hold Read Sensor at the path of the sensor that the property bag
// names (of the device, if it names none).
func (d *decider) receiveTelemetry(b *binding) outcome {
	dev, out := d.acting(b)
	if !out.ok {
		return out
	}
	if b.bag.any {
		return d.meets(readSensor, anywhere) // the bag may name a sensor that does not exist yet
	}
	bag, err := parseBag(b.bag.text)
	if err != nil {
		return refuse(BadBag, err.Error())
	}
	if hardware, named := sensorIn(bag); named {
		return d.meets(readSensor, d.sensorOrAnywhere(capture{text: hardware}))
	}
	return d.meets(readSensor, known(d.devicePlace(dev)))
}

func (d *decider) receiveAsDevice(b *binding, n need) outcome {
	dev, out := d.acting(b)
	if !out.ok {
		return out
	}
	return d.meets(n, known(d.devicePlace(dev)))
}

// readable decides whether this message may be handed to the principal, apart from the
// publisher's right (stands).
func (d *decider) readable(b *binding, m *message.Message) outcome {
	if b.row.private && !d.isFor(m) {
		return refuse(NotOwn, "a private topic of another session")
	}
	return d.receive(b)
}

// isFor reports whether a message on a private topic is meant for this principal. On $iothub/
// the message's route names the device or module. Answers to requests need no check here: the
// broker hands them only to the session, or the sessions of the principal, that asked.
func (d *decider) isFor(m *message.Message) bool {
	if m.Publisher.Kind != principal.Gateway && m.Publisher.Kind != principal.Upstream {
		return false
	}
	if m.Topic[0] == '$' {
		return m.Via.Device == d.p.DeviceID && m.Via.Module == d.p.ModuleID
	}
	return true
}
