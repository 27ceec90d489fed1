package access

import (
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// receive decides whether the principal may read the topics that the binding
// stands for. A value that nobody has, now or yet, counts as lying at "/".
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

// receiveTelemetry: acts for D; Read Sensor at the sensor's path, or D's where
// the bag names none.
func (d *decider) receiveTelemetry(b *binding) outcome {
	dev, out := d.acting(b)
	if !out.ok {
		return out
	}
	if b.bag.any {
		return d.meets(readSensor, anywhere) // it may name a sensor that is yet to come
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

// readable tells whether a message with this topic may be handed to the
// principal now, the publisher's side included.
func (d *decider) readable(b *binding, m *message.Message) outcome {
	if b.row.private && !d.isFor(m) {
		return refuse(NotOwn, "a private topic of another session")
	}
	return d.receive(b)
}

// isFor tells whether a private message is this principal's. What is spoken
// to a device names it in its route; an answer to a request has been given to
// the broker for one principal's sessions.
func (d *decider) isFor(m *message.Message) bool {
	if m.Publisher.Kind != principal.Gateway && m.Publisher.Kind != principal.Upstream {
		return false
	}
	if m.Topic[0] == '$' {
		return m.Via.Device == d.p.DeviceID && m.Via.Module == d.p.ModuleID
	}
	return true
}
