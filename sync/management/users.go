package management

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// A user object says where a person is; it gives no right
// (docs/spec/management-api.md 4.4).

// putUser creates or updates by UPN, and answers the id.
func (c *call) putUser() error {
	_, u, err := users.read(c, wire.ParseUser)
	if err == nil {
		err = newUser(u)
	}
	if err != nil {
		return err
	}
	if err := c.update(func(t *tx) error { return c.putByName(t, u) }); err != nil {
		return err
	}
	return c.ok(u.ID.String())
}

// newUser checks a user that a request names by its UPN.
func newUser(u *wire.User) error {
	if len(u.UPN) < 5 || !strings.Contains(u.UPN, "@") {
		return badRequest("upn: 5 to 50 characters with an @ are required.")
	}
	u.ID, u.Place = space.NewID(), wire.Place{}
	return nil
}

// putByName stores a user under the id that its UPN has already, if any.
func (c *call) putByName(t *tx, u *wire.User) error {
	for id, old := range t.draft.users.all() {
		if strings.EqualFold(old.UPN, u.UPN) {
			u.ID = id
		}
	}
	return c.storeUser(t, u)
}

// storeUser checks the rights at both places, and stores.
func (c *call) storeUser(t *tx, u *wire.User) error {
	if t.path(u.SpaceID).IsZero() {
		return spaces.missing()
	}
	old, exists := t.draft.users.get(u.ID)
	if exists {
		if err := c.need(t, model.Update, model.User, t.path(old.SpaceID)); err != nil {
			return err
		}
	}
	if !exists || old.SpaceID != u.SpaceID {
		if _, err := users.enter(c, t, u.SpaceID); err != nil {
			return err
		}
	}
	users.put(t, u)
	return nil
}

func (c *call) patchUser() error {
	return users.patch(c, 0, func(t *tx, old *wire.User, o wire.Object) error {
		u := *old
		if err := u.Patch(o); err != nil {
			return err
		}
		u.ID, u.UPN = old.ID, old.UPN // the name is the key of PUT
		return c.storeUser(t, &u)
	})
}
