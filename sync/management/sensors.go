package management

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func (c *call) postSensor() error {
	o, err := sensors.body(c)
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
	return sensors.create(c, n, func(t *tx) error { return c.addSensor(t, n) })
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
	var found []*wire.Sensor
	for _, in := range list {
		if err := sensors.members.checkNew(in); err != nil {
			return nil, within("sensors", err)
		}
		if in.Present("deviceId") {
			return nil, badRequest("sensors: deviceId: it is the device around it.")
		}
		n, err := newSensor(in)
		if err != nil {
			return nil, err
		}
		n.DeviceID = d.ID
		found = append(found, n)
	}
	return found, nil
}

// addSensor checks and stores a new sensor. Its space is that of its device
// unless given, and independent from then on. The caller needs Create on
// Sensor at the sensor's place and at the device's: otherwise anybody could
// attach sensors to devices elsewhere.
func (c *call) addSensor(t *tx, n *wire.Sensor) error {
	d, err := c.attach(t, n.DeviceID)
	if err != nil {
		return err
	}
	if n.SpaceID.IsZero() {
		n.SpaceID = d.SpaceID
	}
	if _, err := sensors.enter(c, t, n.SpaceID); err != nil {
		return err
	}
	if err := t.checkSensor(n); err != nil {
		return err
	}
	sensors.put(t, n)
	return nil
}

// attach finds the device that a sensor shall belong to. The caller needs
// Create on Sensor where the device is.
func (c *call) attach(t *tx, id space.ID) (*wire.Device, error) {
	d, ok := t.draft.devices.get(id)
	if !ok {
		return nil, devices.missing()
	}
	return d, c.need(t, model.Create, model.Sensor, t.path(d.SpaceID))
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
	return sensors.patch(c, model.Update, func(t *tx, old *wire.Sensor, o wire.Object) error {
		n := *old
		if err := n.Patch(o); err != nil {
			return err
		}
		n.ID, n.Place = old.ID, wire.Place{}
		if n.HardwareID == "" || n.SpaceID.IsZero() || n.DeviceID.IsZero() {
			return badRequest("hardwareId, spaceId and deviceId cannot be cleared.")
		}
		if n.SpaceID != old.SpaceID {
			if _, err := sensors.enter(c, t, n.SpaceID); err != nil {
				return err
			}
		}
		if n.DeviceID != old.DeviceID {
			if _, err := c.attach(t, n.DeviceID); err != nil {
				return err
			}
		}
		if err := t.checkSensor(&n); err != nil {
			return err
		}
		sensors.put(t, &n)
		return nil
	})
}
