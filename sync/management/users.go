package management

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// Users locate people; no right follows from one (reference 4.4).

func (c *call) getUsers() error {
	in, err := c.tree()
	if err != nil {
		return err
	}
	q, shown := c.query, parseIncludes(c.query.get("includes"))
	var items []item
	for id, u := range c.state.users.all() {
		at := c.state.path(u.SpaceID)
		if in.holds(at) && q.passesID("ids", id) && q.passes("upns", u.UPN) && c.view.sees(wire.TypeUser, at) {
			items = append(items, item{id, u.UPN, func() any { return c.state.showUser(u, shown) }})
		}
	}
	return c.page(items)
}

func (c *call) getUser() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	u, ok := c.state.users.get(id)
	if !ok {
		return notFound("The user does not exist.")
	}
	if !c.view.sees(wire.TypeUser, c.state.path(u.SpaceID)) {
		return forbidden()
	}
	return c.ok(c.state.showUser(u, parseIncludes(c.query.get("includes"))))
}

// putUser creates or updates by UPN, and answers the id.
func (c *call) putUser() error {
	o, err := c.body()
	if err != nil {
		return err
	}
	u, err := wire.ParseUser(o)
	if err != nil {
		return err
	}
	if len(u.UPN) < 5 || !strings.Contains(u.UPN, "@") {
		return badRequest("upn: 5 to 50 characters with an @ are required.")
	}
	u.ID, u.Place = space.NewID(), wire.Place{}
	err = c.update(func(t *tx) error {
		for id, old := range t.draft.users.all() {
			if strings.EqualFold(old.UPN, u.UPN) {
				u.ID = id
			}
		}
		return c.storeUser(t, &u)
	})
	if err != nil {
		return err
	}
	return c.ok(u.ID.String())
}

// storeUser checks the rights at both places, and stores.
func (c *call) storeUser(t *tx, u *wire.User) error {
	at := t.path(u.SpaceID)
	if at.IsZero() {
		return notFound("The space does not exist.")
	}
	old, exists := t.draft.users.get(u.ID)
	if exists {
		if err := c.need(t, model.Update, model.User, t.path(old.SpaceID)); err != nil {
			return err
		}
	}
	if !exists || old.SpaceID != u.SpaceID {
		if err := c.need(t, model.Create, model.User, at); err != nil {
			return err
		}
	}
	t.putUser(u)
	return nil
}

func (c *call) patchUser() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	o, err := c.body()
	if err != nil {
		return err
	}
	err = c.update(func(t *tx) error {
		old, ok := t.draft.users.get(id)
		if !ok {
			return notFound("The user does not exist.")
		}
		u := *old
		if err := u.Patch(o); err != nil {
			return err
		}
		u.ID, u.UPN = id, old.UPN // the name is the key of PUT
		return c.storeUser(t, &u)
	})
	if err != nil {
		return err
	}
	return c.noContent()
}

func (c *call) deleteUser() error {
	id, err := c.id()
	if err != nil {
		return err
	}
	err = c.update(func(t *tx) error {
		u, ok := t.draft.users.get(id)
		if !ok {
			return notFound("The user does not exist.")
		}
		if err := c.need(t, model.Delete, model.User, t.path(u.SpaceID)); err != nil {
			return err
		}
		t.removeUser(u)
		return nil
	})
	if err != nil {
		return err
	}
	return c.noContent()
}
