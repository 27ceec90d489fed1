package management

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func (c *call) getSpaces() error {
	in, err := c.tree()
	if err != nil {
		return err
	}
	q, shown := c.query, parseIncludes(c.query.get("includes"))
	var items []item
	for id, w := range c.state.spaces.all() {
		at := c.state.path(id)
		place := at
		if in.parentOnly {
			place = c.state.path(w.ParentSpaceID)
		}
		if !in.holds(place) || !q.passesID("ids", id) || !q.passes("name", w.Name) || !q.passes("types", w.Type) ||
			!c.view.sees(wire.TypeSpace, at) {
			continue
		}
		items = append(items, item{id, w.Name, func() any { return c.state.showSpace(c.view, w, shown) }})
	}
	return c.page(items)
}

func (c *call) getSpace() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	w, ok := c.state.spaces.get(id)
	if !ok {
		return notFound("The space does not exist.")
	}
	if !c.view.sees(wire.TypeSpace, c.state.path(id)) {
		return forbidden()
	}
	return c.ok(c.state.showSpace(c.view, w, parseIncludes(c.query.get("includes"))))
}

func (c *call) postSpace() error {
	o, err := c.typed()
	if err != nil {
		return err
	}
	w, err := wire.ParseSpace(o)
	if err != nil {
		return err
	}
	w.ID, w.Place = space.NewID(), wire.Place{}
	if w.Name == "" {
		return badRequest("name: required.")
	}
	err = c.update(func(t *tx) error {
		up := t.path(w.ParentSpaceID)
		if up.IsZero() {
			return notFound("The parent space does not exist.")
		}
		if err := c.need(t, model.Create, model.Space, up); err != nil {
			return err
		}
		if up.Depth() >= space.MaxDepth {
			return badRequest("The tree would be deeper than %d levels.", space.MaxDepth)
		}
		t.putSpace(&w)
		return nil
	})
	if err != nil {
		return err
	}
	return c.created("spaces", w.ID)
}

func (c *call) patchSpace() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	o, err := c.typed()
	if err != nil {
		return err
	}
	patch, err := wire.ParseSpace(o)
	if err != nil {
		return err
	}
	err = c.update(func(t *tx) error {
		old, ok := t.draft.spaces.get(id)
		if !ok {
			return notFound("The space does not exist.")
		}
		if err := c.need(t, model.Update, model.Space, t.path(id)); err != nil {
			return err
		}
		w := *old
		for name, set := range map[string]func(){
			"name": func() { w.Name = patch.Name }, "description": func() { w.Description = patch.Description },
			"friendlyName": func() { w.FriendlyName = patch.FriendlyName }, "type": func() { w.Type = patch.Type },
			"typeId": func() { w.TypeID = patch.TypeID }, "parentSpaceId": func() { w.ParentSpaceID = patch.ParentSpaceID },
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
	if err != nil {
		return err
	}
	return c.noContent()
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
// outside stop it (reference 4.4); so do sensors outside of devices inside, if
// the caller may not delete them.
func (c *call) deleteSpace() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	err = c.update(func(t *tx) error {
		at, ok := t.paths[id]
		if !ok {
			return notFound("The space does not exist.")
		}
		if err := c.need(t, model.Delete, model.Space, at); err != nil {
			return err
		}
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
	})
	if err != nil {
		return err
	}
	return c.noContent()
}
