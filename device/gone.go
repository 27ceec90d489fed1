package device

import (
	"cmp"
	"slices"

	"github.com/gatehouse/gatehouse/device/space"
)

// Departed is the name of a device or module that is no longer in the registry:
// the hub id of a device, or {device}/{module} of a module. ID is that of the
// device.
type Departed struct {
	Name string
	ID   space.ID
}

// Gone lists the devices and modules that before held and after does not,
// ordered by name. If a record with the same name is created later, it is
// another device, and nothing that was kept for this ID belongs to it. Refused
// records count as well: a record that collides for a while and is then deleted
// must not leave what was kept for it to the one that it collided with. A
// record that is merely refused or disabled is not gone.
func Gone(before, after *Topology) []Departed {
	if before == after {
		return nil
	}
	var gone []Departed
	for id, e := range before.devices.all() {
		now, ok := after.devices.get(id)
		if !ok || now.HubID != e.HubID {
			gone = append(gone, Departed{e.HubID, id})
			continue
		}
		for _, m := range e.Modules {
			if !slices.ContainsFunc(now.Modules, func(n Module) bool { return n.ID == m.ID }) {
				gone = append(gone, Departed{e.HubID + "/" + m.ID, id})
			}
		}
	}
	slices.SortFunc(gone, func(a, b Departed) int { return cmp.Or(cmp.Compare(a.Name, b.Name), compareID(a.ID, b.ID)) })
	return slices.Compact(gone)
}
