package management

import (
	"crypto/rand"
	"encoding/base64"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func (c *call) postDevice() error {
	o, d, err := devices.read(c, wire.ParseDevice)
	if err != nil {
		return err
	}
	d.ID, d.Place, d.ConnectionString, d.Sensors = space.NewID(), wire.Place{}, "", nil
	if err := checkNewDevice(d); err != nil {
		return err
	}
	hub := true
	if o.Present("createIoTHubDevice") {
		if hub, err = o.Bool("createIoTHubDevice"); err != nil {
			return err
		}
	}
	if hub && d.DeviceID == "" {
		d.DeviceID = d.ID.String()
	}
	if d.DeviceID != "" && d.Authentication == nil {
		d.Authentication = newKeys() // as IoT Hub does
	}
	nested, err := nestedSensors(o, d)
	if err != nil {
		return err
	}
	return devices.create(c, d, func(t *tx) error {
		if _, err := devices.enter(c, t, d.SpaceID); err != nil {
			return err
		}
		if err := c.relate(t, nil, d); err != nil {
			return err
		}
		devices.put(t, d)
		for _, n := range nested {
			if err := c.addSensor(t, n); err != nil {
				return err
			}
		}
		return nil
	})
}

func checkNewDevice(d *wire.Device) error {
	switch {
	case len(d.Name) < 3:
		return badRequest("name: 3 to 64 characters are required.")
	case d.HardwareID == "":
		return badRequest("hardwareId: required.")
	case d.SpaceID.IsZero():
		return badRequest("spaceId: required.")
	}
	if d.Status == "" {
		d.Status = wire.StatusName(device.Active)
	}
	return nil
}

func newKeys() *wire.Authentication {
	key := func() string {
		var b [32]byte
		_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
		return base64.StdEncoding.EncodeToString(b[:])
	}
	return &wire.Authentication{Type: "sas", SymmetricKey: &wire.SymmetricKey{PrimaryKey: key(), SecondaryKey: key()}}
}

func (c *call) patchDevice() error {
	return devices.patch(c, model.Update, func(t *tx, old *wire.Device, o wire.Object) error {
		at := t.path(old.SpaceID)
		d := *old
		if err := d.Patch(o); err != nil {
			return err
		}
		d.ID, d.Place, d.ConnectionString = old.ID, wire.Place{}, ""
		if err := checkNewDevice(&d); err != nil {
			return err
		}
		// Credentials and status decide who may connect, and a device token
		// of this API is bound to the hardwareId: for the two
		// administrators, which are the roles that may also delete a device.
		if o.Has("status") || o.Has("authentication") || o.Has("modules") || d.DeviceID != old.DeviceID ||
			!strings.EqualFold(d.HardwareID, old.HardwareID) {
			if err := c.need(t, model.Delete, model.Device, at); err != nil {
				return err
			}
		}
		if d.SpaceID != old.SpaceID {
			to, err := devices.enter(c, t, d.SpaceID)
			if err != nil {
				return err
			}
			if c.gainsKeys(t, at, to) {
				return forbidden()
			}
		}
		if err := c.relate(t, old, &d); err != nil {
			return err
		}
		devices.put(t, &d)
		return nil
	})
}

// gainsKeys tells whether the caller would learn the keys of a device, or sign
// its tokens, only because it moves the device: the right to read keys is asked
// for where the device is. A caller who may replace the keys at the old place
// may move it anywhere.
func (c *call) gainsKeys(t *tx, from, to space.Path) bool {
	return c.may(t, model.Read, model.KeyStore, to) && !c.may(t, model.Read, model.KeyStore, from) &&
		!c.may(t, model.Delete, model.Device, from)
}

// relate checks what a new or changed device (old is nil for a new one) means for
// other devices: no other device may have its ids, and only a caller that may update
// both may set a gatewayId, because it lets one device act for another.
func (c *call) relate(t *tx, old, d *wire.Device) error {
	if err := t.checkDevice(d); err != nil {
		return err
	}
	for id, other := range t.draft.devices.all() {
		if id == d.ID {
			continue
		}
		// The gateways that the device names now, or named before.
		changed := old == nil || old.GatewayID != d.GatewayID
		concerned := changed && (names(d.GatewayID, other) || old != nil && names(old.GatewayID, other))
		// The devices whose gatewayId named nobody until this device took the
		// name, or names nobody once this device has lost it.
		concerned = concerned || names(other.GatewayID, d) != (old != nil && names(other.GatewayID, old))
		if concerned {
			if err := c.need(t, model.Update, model.Device, t.path(other.SpaceID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkDevice holds a device's ids and certificates against those of all
// others: a gateway refuses every device that shares one, so that whoever may
// create a device anywhere could lock out any other.
func (t *tx) checkDevice(d *wire.Device) error {
	prints, err := thumbprints(d)
	if err != nil {
		return err
	}
	for id, other := range t.draft.devices.all() {
		switch {
		case id == d.ID:
		case strings.EqualFold(other.HardwareID, d.HardwareID):
			return badRequest("hardwareId: another device has it.")
		case d.DeviceID != "" && other.DeviceID == d.DeviceID:
			return badRequest("deviceId: another device has it.")
		case len(prints) > 0 && sharesOne(prints, other):
			return badRequest("x509Thumbprint: another device has it.")
		}
	}
	return nil
}

// thumbprints are those of a device and its modules.
func thumbprints(d *wire.Device) ([]device.Thumbprint, error) {
	var all []device.Thumbprint
	add := func(w *wire.Authentication) error {
		a, err := w.Auth()
		all = append(all, a.Thumbprints...)
		return err
	}
	if err := add(d.Authentication); err != nil {
		return nil, err
	}
	for i := range d.Modules {
		if err := add(d.Modules[i].Authentication); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func sharesOne(prints []device.Thumbprint, other *wire.Device) bool {
	theirs, err := thumbprints(other)
	if err != nil {
		return false // a record that cannot be read lets nobody in
	}
	return slices.ContainsFunc(theirs, func(p device.Thumbprint) bool { return slices.Contains(prints, p) })
}

// names tells whether a gatewayId means d: by topology id, hub id or hardware id.
func names(gatewayID string, d *wire.Device) bool {
	if gatewayID == "" {
		return false
	}
	return strings.EqualFold(gatewayID, d.ID.String()) || gatewayID == d.DeviceID || strings.EqualFold(gatewayID, d.HardwareID)
}

func (c *call) deleteDevice() error {
	return c.noContent(devices.change(c, model.Delete, func(t *tx, d *wire.Device) error {
		for _, n := range t.sensorsOf(map[space.ID]bool{d.ID: true}) {
			if err := c.need(t, model.Delete, model.Sensor, t.path(n.SpaceID)); err != nil {
				return err
			}
		}
		t.removeDevices(d)
		return nil
	}))
}
