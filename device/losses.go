package device

import (
	"bytes"
	"slices"

	"github.com/gatehouse/gatehouse/device/space"
)

// Losses is the change that takes from t what next takes from it, and adds
// nothing: it is for a gateway that cannot store next, and that would forget an
// addition at the next restart. It may take more than next does, never less.
//
// A record that next removes or alters stays, but so that it can do nothing:
// its names remain taken, so that no collision ends and the name of a gateway
// does not come to mean another device. A record that was refused before stays
// as it is.
func Losses(t, next *Topology) Changes {
	var c Changes
	for _, s := range t.spaces.all() {
		if was := t.SpacePath(s.ID); !was.IsZero() && was != next.SpacePath(s.ID) {
			c.PutSpaces = append(c.PutSpaces, Space{ID: s.ID, Parent: s.ID, Name: s.Name}) // a cycle of one: it has no path
		}
	}
	for id, e := range t.devices.all() {
		if e.refused {
			continue
		}
		now, _ := next.Device(id)
		if left, less := e.Device.common(now); less {
			c.PutDevices = append(c.PutDevices, left)
		}
	}
	for id, e := range t.sensors.all() {
		if e.refused {
			continue
		}
		if now, ok := next.Sensor(id); !ok || *now != e.Sensor {
			c.PutSensors = append(c.PutSensors, Sensor{ID: id, HardwareID: e.HardwareID}) // without a device and without a place
		}
	}
	for id, f := range t.functions.all() {
		now, ok := next.Function(id)
		if !ok {
			c.RemoveFunctions = append(c.RemoveFunctions, id)
			continue
		}
		left := *f
		left.Auth = f.Auth.common(&now.Auth)
		if now.Space != f.Space {
			left.Space = space.ID{}
		}
		if left.Space != f.Space || !left.Auth.equal(&f.Auth) {
			c.PutFunctions = append(c.PutFunctions, left)
		}
	}
	for _, was := range t.cas {
		i := slices.IndexFunc(next.cas, func(a CA) bool { return a.ID == was.ID })
		switch {
		case i < 0 || next.cas[i].Path != was.Path || !bytes.Equal(next.cas[i].DER, was.DER):
			c.RemoveCAs = append(c.RemoveCAs, was.ID)
		case len(next.cas[i].CRL) > 0 && !bytes.Equal(next.cas[i].CRL, was.CRL):
			c.PutCAs = append(c.PutCAs, next.cas[i]) // a newer list revokes
		}
	}
	return c
}

// common is what the device may do both before (d) and after (now, which is nil
// if it is gone or refused). less tells whether that is less than d may do.
func (d *Device) common(now *Device) (left Device, less bool) {
	left = *d
	if now == nil || now.HubID != d.HubID || now.HardwareID != d.HardwareID {
		// Under its old name it must do nothing any more, and a new name would
		// be an addition.
		left.Status, left.Auth, left.Modules = Disabled, Auth{}, nil
		return left, true
	}
	if now.Status != Active {
		left.Status = now.Status
	}
	left.Auth = d.Auth.common(&now.Auth)
	less = left.Status != d.Status || !left.Auth.equal(&d.Auth)
	if now.Space != d.Space {
		left.Space, less = space.ID{}, true
	}
	if now.GatewayID != d.GatewayID {
		// A device whose chain of gateways leads back to itself is served by
		// nobody (ActsFor). To name no gateway could end such a chain, and so
		// give a right.
		left.GatewayID, less = d.ID.String(), true
	}
	left.Modules = nil
	for _, m := range d.Modules {
		if _, usable := d.Module(m.ID); !usable {
			left.Modules = append(left.Modules, m) // of two modules with one name neither is found; without this one, the other would be
			continue
		}
		other, ok := now.Module(m.ID)
		if !ok {
			less = true
			continue
		}
		both := Module{ID: m.ID, Auth: m.Auth.common(&other.Auth)}
		less = less || !both.Auth.equal(&m.Auth)
		left.Modules = append(left.Modules, both)
	}
	return left, less
}

// common is the credentials that prove the device both before and after.
func (a *Auth) common(now *Auth) Auth {
	if a.equal(now) {
		return *a
	}
	if a.Kind != now.Kind {
		return Auth{}
	}
	both := Auth{Kind: a.Kind}
	key := func(k Secret) Secret {
		if len(k) > 0 && (bytes.Equal(k, now.Primary) || bytes.Equal(k, now.Secondary)) {
			return k
		}
		return nil
	}
	both.Primary, both.Secondary = key(a.Primary), key(a.Secondary)
	for _, p := range a.Thumbprints {
		if slices.Contains(now.Thumbprints, p) {
			both.Thumbprints = append(both.Thumbprints, p)
		}
	}
	for _, p := range a.ThumbprintsSHA1 {
		if slices.Contains(now.ThumbprintsSHA1, p) {
			both.ThumbprintsSHA1 = append(both.ThumbprintsSHA1, p)
		}
	}
	return both
}

func (a *Auth) equal(b *Auth) bool {
	return a.Kind == b.Kind && bytes.Equal(a.Primary, b.Primary) && bytes.Equal(a.Secondary, b.Secondary) &&
		slices.Equal(a.Thumbprints, b.Thumbprints) && slices.Equal(a.ThumbprintsSHA1, b.ThumbprintsSHA1)
}
