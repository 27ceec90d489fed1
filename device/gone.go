package device

import (
	"cmp"
	"slices"

	"github.com/gatehouse/gatehouse/device/space"
)

// Departed is a name whose bearer is gone: a device by its hub id, a module as
// {device}/{module}; ID is the device's.
type Departed struct {
	Name string
	ID   space.ID
}

// Gone lists whom before had and after has no more, ordered by name. Whoever
// bears such a name from now on is another, and nothing that was kept for
// exactly this ID is theirs. Records count whether they are used or refused: one
// that collides for a while and is then deleted must not leave its place to the
// one that it collided with. One that is merely refused or disabled is not gone.
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
