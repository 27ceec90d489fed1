package management

import (
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/sync/wire"
)

// A request that is answered with success was stored as it was written. So that
// this is true, the members of a request are held against those of its kind: one
// that would not be stored is refused by name, published or not. One that is null
// states nothing, and passes: many clients write all members that they know.

// members are the names that a request for an object of a kind may hold.
type members struct {
	create []string // POST and PUT
	// change is PATCH; nil: those of create. What the server itself puts into an answer
	// (shown) passes too, so that the document of an answer may be sent back changed.
	change []string
	typed  bool // has members that are given by name or by number, never by both
}

var shown = []string{"id", "fullName", "spacePaths", "connectionString"}

// published are members of the published API that are not stored: only for their spelling.
var published = []string{
	"children", "createdDateTimeUtc", "dataSubtype", "dataSubtypeId", "dataUnitType", "dataUnitTypeId", "effectiveLocation",
	"managerName", "metadata", "parentDeviceSubtype", "parentDeviceType", "photoUri", "portType", "portTypeId",
	"properties", "roleAssignments", "statusId", "subtype", "subtypeId", "timeZoneId",
}

// check refuses the first member of o, by the alphabet, that is not known.
func (m members) check(o wire.Object, known ...string) error {
	names := o.Names()
	slices.Sort(names)
	for _, name := range names {
		same := func(s string) bool { return strings.EqualFold(s, name) }
		if !o.Present(name) || slices.ContainsFunc(known, same) {
			continue
		}
		if i := slices.IndexFunc(published, same); i >= 0 {
			name = published[i]
		} else if i := slices.IndexFunc(shown, same); i >= 0 {
			name = shown[i]
		}
		return badRequest("%s: this server does not store it here.", clip(name))
	}
	if m.typed {
		return oneType(o)
	}
	return nil
}

func (m members) checkNew(o wire.Object) error { return m.check(o, m.create...) }

func (m members) checkChange(o wire.Object) error {
	known := m.change
	if known == nil {
		known = m.create
	}
	return m.check(o, append(slices.Clone(known), shown...)...)
}

// body reads the object of a request that creates; patchBody that of one that changes.
func (r *resource[T]) body(c *call) (wire.Object, error) {
	o, err := c.body()
	if err == nil {
		err = r.members.checkNew(o)
	}
	return o, err
}

func (r *resource[T]) patchBody(c *call) (wire.Object, error) {
	o, err := c.body()
	if err == nil {
		err = r.members.checkChange(o)
	}
	return o, err
}

// read is body as a T.
func (r *resource[T]) read(c *call, parse func(wire.Object) (T, error)) (wire.Object, *T, error) {
	o, err := r.body(c)
	if err != nil {
		return o, nil, err
	}
	v, err := parse(o)
	return o, &v, err
}
