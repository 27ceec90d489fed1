package management

import "github.com/gatehouse/gatehouse/sync/wire"

func (c *call) getFunctions() error {
	in, err := c.tree()
	if err != nil {
		return err
	}
	q, shown := c.query, parseIncludes(c.query.get("includes"))
	var items []item
	for id, f := range c.state.functions.all() {
		at := c.state.path(f.SpaceID)
		if !in.holds(at) || !q.passesID("ids", id) || !q.passes("names", f.Name) || !c.view.sees(wire.TypeFunction, at) {
			continue
		}
		items = append(items, item{id, f.Name, func() any { return c.state.showFunction(c.view, f, shown) }})
	}
	return c.page(items)
}

func (c *call) getFunction() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	f, ok := c.state.functions.get(id)
	if !ok {
		return notFound("The function does not exist.")
	}
	if !c.view.sees(wire.TypeFunction, c.state.path(f.SpaceID)) {
		return forbidden()
	}
	return c.ok(c.state.showFunction(c.view, f, parseIncludes(c.query.get("includes"))))
}
