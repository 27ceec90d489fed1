package principal

import (
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
)

// OfRecord tells whether p is the device or module with this name and this
// device record. name is "{device}", which its modules belong to as well, or
// "{device}/{module}". A principal of the same name and another record is
// somebody else: two records can claim one name, and when one of them goes, the other stays.
func (p *Principal) OfRecord(name string, record space.ID) bool {
	if p.Node != record || p.Kind != Device && p.Kind != Module {
		return false
	}
	hub, module, one := strings.Cut(name, "/")
	return p.DeviceID == hub && (!one || p.Kind == Module && p.ModuleID == module)
}
