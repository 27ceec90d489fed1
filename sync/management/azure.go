package management

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// The Azure items have no place in the tree: they are read by whoever may read
// assignments at "/" (or at the site= of a gateway), and changed by whoever
// may change assignments at "/".

func (t *tx) putAzureAssignment(a *model.AzureAssignment) {
	azureAssignments.put(t, a)
	t.policy.PutAzureAssignments = append(t.policy.PutAzureAssignments, *a)
}

func (t *tx) putAzureRole(r *model.AzureRole) {
	azureRoles.put(t, r)
	t.policy.PutAzureRoles = append(t.policy.PutAzureRoles, *r)
}

func (t *tx) putAzureDeny(d *model.AzureDeny) {
	azureDenies.put(t, d)
	t.policy.PutAzureDenies = append(t.policy.PutAzureDenies, *d)
}

// azureRoutes are GET (collection), PUT and DELETE of the three kinds of item.
func azureRoutes() map[string]handler {
	routes := map[string]handler{}
	azureItem(routes, "/gateway/azure/roleassignments", azureAssignments, (*tx).putAzureAssignment,
		func(c *model.ChangeSet) *[]space.ID { return &c.RemoveAzureAssigns })
	azureItem(routes, "/gateway/azure/roledefinitions", azureRoles, (*tx).putAzureRole,
		func(c *model.ChangeSet) *[]space.ID { return &c.RemoveAzureRoles })
	azureItem(routes, "/gateway/azure/denyassignments", azureDenies, (*tx).putAzureDeny,
		func(c *model.ChangeSet) *[]space.ID { return &c.RemoveAzureDenies })
	return routes
}

// azureItem adds the routes of one kind. Removed is the part of a change set
// that names the items which are gone.
func azureItem[T any](routes map[string]handler, at string, r *resource[T], put func(*tx, *T), removed func(*model.ChangeSet) *[]space.ID) {
	routes["GET "+at] = func(c *call) error { return azureList(c, r) }
	routes["PUT "+at+"/{id}"] = func(c *call) error { return azurePut(c, r, put) }
	routes["DELETE "+at+"/{id}"] = func(c *call) error { return azureDelete(c, r, removed) }
}

func azureList[T any](c *call, r *resource[T]) error {
	items := []item{}
	if c.view.sees(r.kind, space.Root) {
		for id, v := range r.rows(&c.state.frozen).all() {
			items = append(items, item{id, "", func() any { return r.show(c.state, c.view, v, nil) }})
		}
	}
	return c.page(items)
}

func azurePut[T any](c *call, r *resource[T], put func(*tx, *T)) error {
	id, err := c.id()
	if err != nil {
		return err
	}
	o, err := c.body()
	if err != nil {
		return err
	}
	parsed, err := r.parse(o)
	if err != nil {
		return err
	}
	v := &parsed
	if r.id(v) != id {
		return badRequest("name: must be the id in the route.")
	}
	err = c.update(func(t *tx) error {
		if err := c.need(t, model.Create, r.right(), space.Root); err != nil {
			return err
		}
		put(t, v)
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Info("Azure item put", "id", id, "path", c.r.URL.Path, "by", c.caller.Name)
	return c.noContent(nil)
}

// azureDelete checks the right before it looks for the item, so that a caller without it
// does not learn which items exist.
func azureDelete[T any](c *call, r *resource[T], removed func(*model.ChangeSet) *[]space.ID) error {
	id, err := c.id()
	if err != nil {
		return err
	}
	err = c.update(func(t *tx) error {
		if err := c.need(t, model.Delete, r.right(), space.Root); err != nil {
			return err
		}
		v, ok := r.draft(&t.draft).get(id)
		if !ok {
			return r.missing()
		}
		r.drop(t, v)
		gone := removed(&t.policy)
		*gone = append(*gone, id)
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Info("Azure item deleted", "id", id, "path", c.r.URL.Path, "by", c.caller.Name)
	return c.noContent(nil)
}
