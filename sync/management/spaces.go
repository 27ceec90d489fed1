package management

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func (c *call) postSpace() error {
	_, w, err := typed(c, wire.ParseSpace)
	if err != nil {
		return err
	}
	w.ID, w.Place = space.NewID(), wire.Place{}
	if w.Name == "" {
		return badRequest("name: required.")
	}
	return spaces.create(c, w, func(t *tx) error {
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
		t.putSpace(w)
		return nil
	})
}

func (c *call) patchSpace() error {
	var patch *wire.Space
	body := func() (o wire.Object, err error) {
		o, patch, err = typed(c, wire.ParseSpace)
		return o, err
	}
	return spaces.patch(c, model.Update, body, func(t *tx, old *wire.Space, o wire.Object) error {
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
