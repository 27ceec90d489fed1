package access

import (
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// rule is the part of an operator's row that a built-in row does not have.
type rule struct {
	publish, subscribe need
	onBehalf           bool
	scope              space.Path // where the need must be met, of a row without captures
	filter             string     // the topic with every capture replaced by '+'
	line               int
}

// publishOperator decides a publish on an operator's row: its need must be met at every place
// that the topic names. If the row has {device} or {sensor}, the publisher must also act for
// that device; on_behalf waives this for publishers that are not devices or modules. A capture
// that names nothing known is refused.
func (d *decider) publishOperator(b *binding, r *message.Route) outcome {
	u := b.row.rule
	r.Handling, r.Sensor, r.Origin = message.Fanout, b.sensor.text, b.device.text
	if u.publish.never() {
		return refuse(NeverPublish, "row "+b.row.name)
	}
	waived := u.onBehalf && d.p.Kind != principal.Device && d.p.Kind != principal.Module
	r.OnBehalf = waived

	var buf [3]place
	places := buf[:0]
	var dev *device.Device
	if b.device.bound {
		var ok bool
		if dev, ok = d.topology.DeviceByHubID(b.device.text); !ok {
			return refuse(UnknownDevice, b.device.text)
		}
		if !waived && !d.actsFor(dev) {
			return refuse(NotActingFor, "")
		}
		places = append(places, d.devicePlace(dev))
	}
	if b.sensor.bound {
		s, ok := d.topology.SensorByHardwareID(b.sensor.text)
		if !ok {
			return refuse(UnknownSensor, b.sensor.text)
		}
		owner, ok := d.topology.Device(s.Device)
		switch {
		case !ok:
			return refuse(UnknownSensor, "its device is not known")
		case !waived && !d.actsFor(owner):
			return refuse(NotActingFor, "")
		case dev != nil && dev.ID != owner.ID && !d.topology.ActsFor(dev.ID, owner):
			return refuse(ForeignSensor, b.sensor.text)
		}
		r.Origin = owner.HubID
		places = append(places, d.sensorPlace(s))
	}
	if b.space.bound {
		p, ok := d.spacePath(b.space.text)
		if !ok {
			return refuse(UnknownSpace, b.space.text)
		}
		places = append(places, place{path: p})
	}
	if len(places) == 0 {
		places = append(places, place{path: u.scope})
	}
	return d.meets(u.publish, places...)
}

// readOperator decides reading on an operator's row: its need must be met at every place that
// the topic names. A wildcard, and a name that is not known, count as lying at "/".
func (d *decider) readOperator(b *binding) outcome {
	u := b.row.rule
	if u.subscribe.never() {
		return refuse(NeverRead, "row "+b.row.name)
	}
	var buf [3]place
	places := buf[:0]
	if b.device.bound {
		places = append(places, d.deviceOrAnywhere(b.device))
	}
	if b.sensor.bound {
		places = append(places, d.sensorOrAnywhere(b.sensor))
	}
	if b.space.bound {
		at := anywhere
		if !b.space.any {
			if p, ok := d.spacePath(b.space.text); ok {
				at = place{path: p}
			}
		}
		places = append(places, at)
	}
	if len(places) == 0 {
		places = append(places, place{path: u.scope})
	}
	return d.meets(u.subscribe, places...)
}

func (d *decider) spacePath(text string) (space.Path, bool) {
	id, err := space.ParseID(text)
	if err != nil || id.String() != text { // only the canonical spelling of a GUID names a space
		return space.Path{}, false
	}
	s, ok := d.topology.Space(id)
	if !ok || s.Path.IsZero() {
		return space.Path{}, false
	}
	return s.Path, true
}

func (d *decider) deviceOrAnywhere(c capture) place {
	if !c.any {
		if dev, ok := d.topology.DeviceByHubID(c.text); ok {
			return known(d.devicePlace(dev))
		}
	}
	return anywhere
}

func (d *decider) sensorOrAnywhere(c capture) place {
	if !c.any {
		if s, ok := d.topology.SensorByHardwareID(c.text); ok {
			return known(d.sensorPlace(s))
		}
	}
	return anywhere
}

// known returns the place, or "/" if the record's space is not known.
func known(at place) place {
	if at.path.IsZero() {
		at.path = space.Root
	}
	return at
}
