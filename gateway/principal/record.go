package principal

import (
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
)

// OfRecord reports whether p is the device or module of this name that belongs to this device
// record. The name {device} includes the device's modules; {device}/{module} is one module. The
// record must match too, because two records can claim the same name: when one is deleted, the
// principals of the other must stay.
func (p *Principal) OfRecord(name string, record space.ID) bool {
	if p.Node != record || p.Kind != Device && p.Kind != Module {
		return false
	}
	hub, module, one := strings.Cut(name, "/")
	return p.DeviceID == hub && (!one || p.Kind == Module && p.ModuleID == module)
}
