package management

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// The Azure items have no place in the tree: they are read by whoever may read
// assignments at "/" (or at the site= of a gateway), and changed by whoever
// may change assignments at "/".

func (t *tx) putAzureAssignment(a *model.AzureAssignment) {
	write(t, &t.draft.azureAssignments, wire.TypeAzureAssignment, a.ID, a, placeOf(t.draft.azureAssignments.table, a.ID), space.Root)
	t.policy.PutAzureAssignments = append(t.policy.PutAzureAssignments, *a)
}

func (t *tx) putAzureRole(r *model.AzureRole) {
	write(t, &t.draft.azureRoles, wire.TypeAzureRole, r.ID, r, placeOf(t.draft.azureRoles.table, r.ID), space.Root)
	t.policy.PutAzureRoles = append(t.policy.PutAzureRoles, *r)
}

func (t *tx) putAzureDeny(d *model.AzureDeny) {
	write(t, &t.draft.azureDenies, wire.TypeAzureDeny, d.ID, d, placeOf(t.draft.azureDenies.table, d.ID), space.Root)
	t.policy.PutAzureDenies = append(t.policy.PutAzureDenies, *d)
}

func placeOf[T any](rows table[T], id space.ID) space.Path {
	if _, ok := rows.get(id); ok {
		return space.Root
	}
	return space.Path{}
}

// azureRoutes are GET (collection), PUT and DELETE of the three kinds of item.
func azureRoutes() map[string]handler {
	return map[string]handler{
		"GET /gateway/azure/roleassignments": func(c *call) error {
			return azureList(c, wire.TypeAzureAssignment, c.state.azureAssignments, wire.FromAzureAssignment)
		},
		"GET /gateway/azure/roledefinitions": func(c *call) error {
			return azureList(c, wire.TypeAzureRole, c.state.azureRoles, wire.FromAzureRole)
		},
		"GET /gateway/azure/denyassignments": func(c *call) error {
			return azureList(c, wire.TypeAzureDeny, c.state.azureDenies, wire.FromAzureDeny)
		},
		"PUT /gateway/azure/roleassignments/{id}": func(c *call) error {
			return azurePut(c, wire.ParseAzureAssignment, func(a *model.AzureAssignment) space.ID { return a.ID }, (*tx).putAzureAssignment)
		},
		"PUT /gateway/azure/roledefinitions/{id}": func(c *call) error {
			return azurePut(c, wire.ParseAzureRole, func(r *model.AzureRole) space.ID { return r.ID }, (*tx).putAzureRole)
		},
		"PUT /gateway/azure/denyassignments/{id}": func(c *call) error {
			return azurePut(c, wire.ParseAzureDeny, func(d *model.AzureDeny) space.ID { return d.ID }, (*tx).putAzureDeny)
		},
		"DELETE /gateway/azure/roleassignments/{id}": func(c *call) error {
			return azureDelete(c, wire.TypeAzureAssignment, func(t *tx) (*edit[model.AzureAssignment], *[]space.ID) {
				return &t.draft.azureAssignments, &t.policy.RemoveAzureAssigns
			})
		},
		"DELETE /gateway/azure/roledefinitions/{id}": func(c *call) error {
			return azureDelete(c, wire.TypeAzureRole, func(t *tx) (*edit[model.AzureRole], *[]space.ID) {
				return &t.draft.azureRoles, &t.policy.RemoveAzureRoles
			})
		},
		"DELETE /gateway/azure/denyassignments/{id}": func(c *call) error {
			return azureDelete(c, wire.TypeAzureDeny, func(t *tx) (*edit[model.AzureDeny], *[]space.ID) {
				return &t.draft.azureDenies, &t.policy.RemoveAzureDenies
			})
		},
	}
}

func azureList[T, W any](c *call, kind string, rows table[T], show func(T) W) error {
	items := []item{}
	if c.view.sees(kind, space.Root) {
		for id, v := range rows.all() {
			items = append(items, item{id, "", func() any { return show(*v) }})
		}
	}
	return c.page(items)
}

func azurePut[T any](c *call, parse func(wire.Object) (T, error), idOf func(*T) space.ID, put func(*tx, *T)) error {
	id, err := c.id()
	if err != nil {
		return err
	}
	o, err := c.body()
	if err != nil {
		return err
	}
	v, err := parse(o)
	if err != nil {
		return err
	}
	if idOf(&v) != id {
		return badRequest("name: must be the id in the route.")
	}
	err = c.update(func(t *tx) error {
		if err := c.need(t, model.Create, model.SpaceRoleAssignment, space.Root); err != nil {
			return err
		}
		put(t, &v)
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Info("Azure item put", "id", id, "path", c.r.URL.Path, "by", c.caller.Name)
	return c.noContent()
}

func azureDelete[T any](c *call, kind string, of func(*tx) (*edit[T], *[]space.ID)) error {
	id, err := c.id()
	if err != nil {
		return err
	}
	err = c.update(func(t *tx) error {
		if err := c.need(t, model.Delete, model.SpaceRoleAssignment, space.Root); err != nil {
			return err
		}
		rows, removed := of(t)
		if _, ok := rows.get(id); !ok {
			return notFound("The item does not exist.")
		}
		write(t, rows, kind, id, nil, space.Root, space.Path{})
		*removed = append(*removed, id)
		return nil
	})
	if err != nil {
		return err
	}
	c.log.Info("Azure item deleted", "id", id, "path", c.r.URL.Path, "by", c.caller.Name)
	return c.noContent()
}
