package management

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func (c *call) getSensors() error {
	in, err := c.tree()
	if err != nil {
		return err
	}
	q, shown := c.query, parseIncludes(c.query.get("includes"))
	var items []item
	for id, n := range c.state.sensors.all() {
		at := c.state.path(n.SpaceID)
		if !in.holds(at) || !q.passesID("ids", id) || !q.passesID("deviceIds", n.DeviceID) ||
			!q.passes("hardwareIds", n.HardwareID) || !q.passes("types", n.Type) || !q.passes("dataTypes", n.DataType) ||
			!c.view.sees(wire.TypeSensor, at) {
			continue
		}
		items = append(items, item{id, n.HardwareID, func() any { return c.state.showSensor(n, shown) }})
	}
	return c.page(items)
}

func (c *call) getSensor() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	n, ok := c.state.sensors.get(id)
	if !ok {
		return notFound("The sensor does not exist.")
	}
	if !c.view.sees(wire.TypeSensor, c.state.path(n.SpaceID)) {
		return forbidden()
	}
	return c.ok(c.state.showSensor(n, parseIncludes(c.query.get("includes"))))
}

func (c *call) postSensor() error {
	o, err := c.typed()
	if err != nil {
		return err
	}
	n, err := newSensor(o)
	if err != nil {
		return err
	}
	if n.DeviceID.IsZero() {
		return badRequest("deviceId: required.")
	}
	if err := c.update(func(t *tx) error { return c.addSensor(t, n) }); err != nil {
		return err
	}
	return c.created("sensors", n.ID)
}

// newSensor reads a sensor to be created; a missing hardwareId is made up.
func newSensor(o wire.Object) (*wire.Sensor, error) {
	n, err := wire.ParseSensor(o)
	if err != nil {
		return nil, err
	}
	n.ID, n.Place = space.NewID(), wire.Place{}
	if n.HardwareID == "" {
		n.HardwareID = space.NewID().String()
	}
	return &n, nil
}

// nestedSensors are those that a device brings along.
func nestedSensors(o wire.Object, d *wire.Device) ([]*wire.Sensor, error) {
	list, err := o.List("sensors")
	if err != nil {
		return nil, err
	}
	var sensors []*wire.Sensor
	for _, in := range list {
		if err := oneType(in); err != nil {
			return nil, err
		}
		n, err := newSensor(in)
		if err != nil {
			return nil, err
		}
		n.DeviceID = d.ID
		sensors = append(sensors, n)
	}
	return sensors, nil
}

// addSensor checks and stores a new sensor. Its space is that of its device
// unless given, and independent from then on. The caller needs Create on
// Sensor at the sensor's place and at the device's: otherwise anybody could
// attach sensors to devices elsewhere.
func (c *call) addSensor(t *tx, n *wire.Sensor) error {
	d, ok := t.draft.devices.get(n.DeviceID)
	if !ok {
		return notFound("The device does not exist.")
	}
	if err := c.need(t, model.Create, model.Sensor, t.path(d.SpaceID)); err != nil {
		return err
	}
	if n.SpaceID.IsZero() {
		n.SpaceID = d.SpaceID
	}
	at := t.path(n.SpaceID)
	if at.IsZero() {
		return notFound("The space does not exist.")
	}
	if err := c.need(t, model.Create, model.Sensor, at); err != nil {
		return err
	}
	if err := t.checkSensor(n); err != nil {
		return err
	}
	t.putSensor(n)
	return nil
}

func (t *tx) checkSensor(n *wire.Sensor) error {
	for id, other := range t.draft.sensors.all() {
		if id != n.ID && strings.EqualFold(other.HardwareID, n.HardwareID) {
			return badRequest("hardwareId: another sensor has it.")
		}
	}
	return nil
}

func (c *call) patchSensor() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	o, err := c.typed()
	if err != nil {
		return err
	}
	err = c.update(func(t *tx) error {
		old, ok := t.draft.sensors.get(id)
		if !ok {
			return notFound("The sensor does not exist.")
		}
		if err := c.need(t, model.Update, model.Sensor, t.path(old.SpaceID)); err != nil {
			return err
		}
		n := *old
		if err := n.Patch(o); err != nil {
			return err
		}
		n.ID, n.Place = id, wire.Place{}
		if n.HardwareID == "" || n.SpaceID.IsZero() || n.DeviceID.IsZero() {
			return badRequest("hardwareId, spaceId and deviceId cannot be cleared.")
		}
		if n.SpaceID != old.SpaceID {
			if t.path(n.SpaceID).IsZero() {
				return notFound("The space does not exist.")
			}
			if err := c.need(t, model.Create, model.Sensor, t.path(n.SpaceID)); err != nil {
				return err
			}
		}
		if n.DeviceID != old.DeviceID {
			d, ok := t.draft.devices.get(n.DeviceID)
			if !ok {
				return notFound("The device does not exist.")
			}
			if err := c.need(t, model.Create, model.Sensor, t.path(d.SpaceID)); err != nil {
				return err
			}
		}
		if err := t.checkSensor(&n); err != nil {
			return err
		}
		t.putSensor(&n)
		return nil
	})
	if err != nil {
		return err
	}
	return c.noContent()
}

func (c *call) deleteSensor() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	err = c.update(func(t *tx) error {
		n, ok := t.draft.sensors.get(id)
		if !ok {
			return notFound("The sensor does not exist.")
		}
		if err := c.need(t, model.Delete, model.Sensor, t.path(n.SpaceID)); err != nil {
			return err
		}
		t.removeSensor(n)
		return nil
	})
	if err != nil {
		return err
	}
	return c.noContent()
}
