package management

import "github.com/gatehouse/gatehouse/device"

// DeviceByHubID finds the one device record with the IoT Hub device id; false when
// there is none or more than one. It is for the development hub, which runs in the
// same process, and checks no rights.
func (s *Server) DeviceByHubID(id string) (device.Device, bool) {
	var found device.Device
	n := 0
	for _, w := range s.state.Load().devices.all() {
		if d, err := w.Record(); err == nil && d.HubID == id {
			found = d
			n++
		}
	}
	return found, n == 1
}
