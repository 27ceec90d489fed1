package management

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func (c *call) postSpace() error {
	o, err := spaces.body(c)
	if err != nil {
		return err
	}
	n, err := newSpace(o)
	if err != nil {
		return err
	}
	return spaces.create(c, &n.space, func(t *tx) error { return c.addSpace(t, n, n.space.ParentSpaceID) })
}

// nested is a space to be created, with what it brings along.
type nested struct {
	space    wire.Space
	users    []*wire.User
	children []*nested
}

// newSpace reads a space, its users and its children.
func newSpace(o wire.Object) (*nested, error) {
	w, err := wire.ParseSpace(o)
	if err != nil {
		return nil, err
	}
	if w.Name == "" {
		return nil, badRequest("name: required.")
	}
	w.ID, w.Place = space.NewID(), wire.Place{}
	n := &nested{space: w}
	inside, err := o.List("users")
	if err != nil {
		return nil, err
	}
	for _, in := range inside {
		u, err := nestedUser(in)
		if err != nil {
			return nil, within("users", err)
		}
		u.SpaceID = w.ID
		n.users = append(n.users, u)
	}
	if inside, err = o.List("children"); err != nil {
		return nil, err
	}
	for _, in := range inside {
		if in.Present("parentSpaceId") {
			return nil, badRequest("children: parentSpaceId: it is the space around it.")
		}
		if err := spaces.members.checkNew(in); err != nil {
			return nil, within("children", err)
		}
		child, err := newSpace(in)
		if err != nil {
			return nil, within("children", err)
		}
		n.children = append(n.children, child)
	}
	return n, nil
}

func nestedUser(o wire.Object) (*wire.User, error) {
	if o.Present("spaceId") {
		return nil, badRequest("spaceId: it is the space around it.")
	}
	if err := users.members.checkNew(o); err != nil {
		return nil, err
	}
	u, err := wire.ParseUser(o)
	if err != nil {
		return nil, err
	}
	return &u, newUser(&u)
}

// addSpace stores a new space below another, and what it brings along, each
// under the right that it needs by itself.
func (c *call) addSpace(t *tx, n *nested, parent space.ID) error {
	up := t.path(parent)
	if up.IsZero() {
		return notFound("The parent space does not exist.")
	}
	if err := c.need(t, model.Create, model.Space, up); err != nil {
		return err
	}
	if up.Depth() >= space.MaxDepth {
		return badRequest("The tree would be deeper than %d levels.", space.MaxDepth)
	}
	n.space.ParentSpaceID = parent
	t.putSpace(&n.space)
	for _, u := range n.users {
		if err := c.putByName(t, u); err != nil {
			return err
		}
	}
	for _, child := range n.children {
		if err := c.addSpace(t, child, n.space.ID); err != nil {
			return err
		}
	}
	return nil
}

func (c *call) patchSpace() error {
	return spaces.patch(c, model.Update, func(t *tx, old *wire.Space, o wire.Object) error {
		patch, err := wire.ParseSpace(o)
		if err != nil {
			return err
		}
		w := *old
		for name, set := range map[string]func(){
			"name":          func() { w.Name = patch.Name },
			"description":   func() { w.Description = patch.Description },
			"friendlyName":  func() { w.FriendlyName = patch.FriendlyName },
			"type":          func() { w.Type = patch.Type },
			"typeId":        func() { w.TypeID = patch.TypeID },
			"parentSpaceId": func() { w.ParentSpaceID = patch.ParentSpaceID },
		} {
			if o.Has(name) {
				set()
			}
		}
		if w.Name == "" {
			return badRequest("name: cannot be cleared.")
		}
		if w.ParentSpaceID != old.ParentSpaceID {
			return c.moveSpace(t, &w)
		}
		t.putSpace(&w)
		return nil
	})
}

// moveSpace hangs a space, with all that is below it, under another parent.
// It needs Create at the new place as well as Update at the old one.
func (c *call) moveSpace(t *tx, w *wire.Space) error {
	from, up := t.path(w.ID), t.path(w.ParentSpaceID)
	if up.IsZero() {
		return notFound("The parent space does not exist.")
	}
	if err := c.need(t, model.Create, model.Space, up); err != nil {
		return err
	}
	if from.Covers(up) {
		return badRequest("A space cannot be moved below itself.")
	}
	deepest := 0
	for _, p := range t.paths {
		if from.Covers(p) {
			deepest = max(deepest, p.Depth()-from.Depth()+1)
		}
	}
	if up.Depth()+deepest > space.MaxDepth {
		return badRequest("The tree would be deeper than %d levels.", space.MaxDepth)
	}
	t.move(w, from, up.Join(w.ID))
	return nil
}

// deleteSpace takes the whole subtree. Sensors inside whose device lies
// outside stop it (docs/spec/management-api.md 4.4); so do sensors outside of devices inside, if
// the caller may not delete them.
func (c *call) deleteSpace() error {
	return c.noContent(spaces.change(c, model.Delete, func(t *tx, w *wire.Space) error {
		at := t.path(w.ID)
		for _, n := range t.draft.sensors.all() {
			d, ok := t.draft.devices.get(n.DeviceID)
			deviceInside := ok && at.Covers(t.path(d.SpaceID))
			sensorInside := at.Covers(t.path(n.SpaceID))
			if sensorInside && !deviceInside {
				return badRequest("The space holds a sensor whose device lies outside.")
			}
			if deviceInside && !sensorInside {
				if err := c.need(t, model.Delete, model.Sensor, t.path(n.SpaceID)); err != nil {
					return err
				}
			}
		}
		t.removeSubtree(at)
		return nil
	}))
}
