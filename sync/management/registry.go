package management

import (
	"encoding/base64"
	"strings"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// The server's own view of its registry, for what runs beside it in one
// process (the development hub, device tokens). It asks nobody's rights.

// DeviceByHubID finds the one device record with the IoT Hub device id; false
// when there is none or more than one.
func (s *Server) DeviceByHubID(id string) (device.Device, bool) {
	return s.oneDevice(func(d *device.Device) bool { return d.HubID == id })
}

// DeviceByHardwareID finds the one device record with the hardware id.
func (s *Server) DeviceByHardwareID(id string) (device.Device, bool) {
	return s.oneDevice(func(d *device.Device) bool { return d.HardwareID == id })
}

func (s *Server) oneDevice(is func(*device.Device) bool) (device.Device, bool) {
	var found device.Device
	n := 0
	for _, w := range s.state.Load().devices.all() {
		if d, err := w.Record(); err == nil && is(&d) {
			found = d
			n++
		}
	}
	return found, n == 1
}

// KeyFor is the value of an active key of the nearest key store at or above
// the space (digital-twins-management-api.md 5.3).
func (s *Server) KeyFor(at space.ID, version int) ([]byte, bool) {
	st := s.state.Load()
	for p, ok := st.path(at), true; ok && !p.IsZero(); p, ok = p.Parent() {
		for _, store := range st.keystores.all() {
			if store.SpaceID.IsZero() || store.SpaceID != p.Space() {
				continue
			}
			for _, k := range store.Keys {
				if k.ID == version && strings.EqualFold(k.Status, "Active") {
					raw, err := base64.StdEncoding.DecodeString(k.Value)
					return raw, err == nil && len(raw) > 0
				}
			}
			return nil, false // the first key store on the way up serves
		}
	}
	return nil, false
}
