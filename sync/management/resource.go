package management

import (
	"encoding/json"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// resource describes one kind of object that lies in the tree of spaces, and
// serves what the API does alike with all of them: list, read, create, change
// and delete, each under the right that protects the kind at the object's
// place. What differs from kind to kind is in the fields, or in the functions
// that a handler passes along.
type resource[T any] struct {
	kind       string // of the feed and of the stored rows; resourceOf names its right
	collection string // in the Location of what was created
	noun       string // in messages: "The device does not exist."

	rows  func(*frozen) *rows[T]
	draft func(*draft) *edit[T]

	// members are what a request may hold; an Azure item has none, because it is a
	// document of Azure's, of which what decides is stored.
	members members

	id func(*T) space.ID
	// at is where v lies; the zero path if its space does not exist.
	at   func(p places, v *T) space.Path
	name func(*T) string // for $orderby=Name
	// passes tells whether v passes the filters of a collection that are the
	// kind's own; ids= and the filters of the tree are applied to all kinds.
	passes func(q query, v *T) bool
	// show is the JSON form of row as the caller of the view may see it, with the
	// optional fields that in names.
	show func(s *state, v *view, row *T, in includes) any
	// parse reads a row of the store, which encodeRow wrote; nil: the row is
	// the JSON form of T.
	parse func(wire.Object) (T, error)
	// parent, where useParentSpace= applies, is the space that the filters of
	// the tree look at instead of the object's own place.
	parent func(*T) space.ID
}

// places finds the path of a space: in a snapshot, or in a transaction.
type places interface{ path(id space.ID) space.Path }

func (r *resource[T]) right() model.ResourceType { return resourceOf(r.kind) }

func (r *resource[T]) missing() error { return notFound("The " + r.noun + " does not exist.") }

// list answers the objects that the query asks for and the caller may see.
func (r *resource[T]) list(c *call) error {
	in, err := c.tree()
	if err != nil {
		return err
	}
	shown := parseIncludes(c.query.get("includes"))
	var items []item
	for id, v := range r.rows(&c.state.frozen).all() {
		at := r.at(c.state, v)
		place := at
		if in.parentOnly && r.parent != nil {
			place = c.state.path(r.parent(v))
		}
		if !in.holds(place) || !c.query.passesID("ids", id) || !r.passes(c.query, v) || !c.view.sees(r.kind, at) {
			continue
		}
		items = append(items, item{id, r.name(v), func() any { return r.show(c.state, c.view, v, shown) }})
	}
	return c.page(items)
}

// find returns the object of the route if the caller may read it.
func (r *resource[T]) find(c *call) (*T, error) {
	id, err := c.id()
	if err != nil {
		return nil, err
	}
	v, ok := r.rows(&c.state.frozen).get(id)
	if !ok {
		return nil, r.missing()
	}
	if !c.view.sees(r.kind, r.at(c.state, v)) {
		return nil, forbidden()
	}
	return v, nil
}

func (r *resource[T]) get(c *call) error {
	v, err := r.find(c)
	if err != nil {
		return err
	}
	return c.ok(r.show(c.state, c.view, v, parseIncludes(c.query.get("includes"))))
}

// create runs store in a transaction and answers with the new id. Store checks
// the rights, because which ones are needed differs.
func (r *resource[T]) create(c *call, v *T, store func(t *tx) error) error {
	if err := c.update(store); err != nil {
		return err
	}
	return c.created(r.collection, r.id(v))
}

// change runs a change of the object of the route, if the caller holds the
// given right at its place; with 0 the change itself checks the rights. The old
// object belongs to the snapshot: a change writes a copy.
func (r *resource[T]) change(c *call, access model.Access, change func(t *tx, old *T) error) error {
	id, err := c.id()
	if err != nil {
		return err
	}
	return c.update(func(t *tx) error {
		old, ok := r.draft(&t.draft).get(id)
		if !ok {
			return r.missing()
		}
		if access != 0 {
			if err := c.need(t, access, r.right(), r.at(t, old)); err != nil {
				return err
			}
		}
		return change(t, old)
	})
}

// patch is change for the handlers of PATCH. A bad id in the route is reported
// before what is wrong with the body.
func (r *resource[T]) patch(c *call, access model.Access, change func(*tx, *T, wire.Object) error) error {
	id, err := c.id()
	if err != nil {
		return err
	}
	o, err := r.patchBody(c)
	if err != nil {
		return err
	}
	if given, err := o.ID("id"); err != nil || o.Present("id") && given != id {
		return badRequest("id: cannot be changed.")
	}
	return c.noContent(r.change(c, access, func(t *tx, old *T) error { return change(t, old, o) }))
}

// remove answers DELETE, for a kind whose objects nothing else depends on.
func (r *resource[T]) remove(c *call) error {
	return c.noContent(r.change(c, model.Delete, func(t *tx, v *T) error {
		r.drop(t, v)
		return nil
	}))
}

// enter returns the place of a space, if the caller may create an object of
// the kind there: as one that is new, or as one that moves there.
func (r *resource[T]) enter(c *call, t *tx, id space.ID) (space.Path, error) {
	at := t.path(id)
	if at.IsZero() {
		return at, spaces.missing()
	}
	return at, c.need(t, model.Create, r.right(), at)
}

// put writes v in place of what has its id, and drop deletes it.
func (r *resource[T]) put(t *tx, v *T) {
	var before space.Path
	if old, ok := r.draft(&t.draft).get(r.id(v)); ok {
		before = r.at(t, old)
	}
	write(t, r.draft(&t.draft), r.kind, r.id(v), v, before, r.at(t, v))
}

func (r *resource[T]) drop(t *tx, v *T) {
	write(t, r.draft(&t.draft), r.kind, r.id(v), nil, r.at(t, v), space.Path{})
}

// touchMoved logs the objects whose place a move has changed without changing
// their record. Was finds the paths of before the move.
func (r *resource[T]) touchMoved(t *tx, was places, moved func(space.Path) (space.Path, bool)) {
	for id, v := range r.draft(&t.draft).all() {
		before := r.at(was, v)
		if after, ok := moved(before); ok {
			t.touch(r.kind, id, before, after)
		}
	}
}

// below collects the objects at or below a path, for a caller that will write.
func (r *resource[T]) below(t *tx, at space.Path) []*T {
	var list []*T
	for _, v := range r.draft(&t.draft).all() {
		if at.Covers(r.at(t, v)) {
			list = append(list, v)
		}
	}
	return list
}

// object is the form of an object in the feed; nil if there is none.
func (r *resource[T]) object(s *state, v *view, id space.ID, in includes) any {
	row, ok := r.rows(&s.frozen).get(id)
	if !ok {
		return nil
	}
	return r.show(s, v, row, in)
}

// load puts one row of the store, which is also given parsed, into the draft.
func (r *resource[T]) load(d *draft, id space.ID, row []byte, o wire.Object) (err error) {
	var v T
	if r.parse == nil {
		err = json.Unmarshal(row, &v)
	} else {
		v, err = r.parse(o)
	}
	if err == nil {
		r.draft(d).put(id, &v)
	}
	return err
}

func (r *resource[T]) count(d *draft) int { return r.draft(d).len() }
