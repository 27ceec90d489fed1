package store

import (
	"encoding/json"
	"fmt"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// kind is the type of a cached record; the number is part of its key.
type kind byte

const (
	kindRole kind = iota + 1
	kindAssignment
	kindAzureRole
	kindAzureAssignment
	kindAzureDeny
	kindSpace
	kindDevice
	kindSensor
	kindFunction
	kindCA
)

// sealed tells whether records of the kind are encrypted: they hold secrets or, in the
// case of certificate authorities, must not be altered.
func (k kind) sealed() bool { return k == kindDevice || k == kindFunction || k == kindCA }

// The stored forms of two sorts of values: those that hold a device.Secret, which
// encodes to JSON as "[redacted]", and those whose text form is that of the management
// API, which refuses values that it does not know. The cache must return exactly what
// it was given.
type (
	identityForm struct {
		Kind           uint8
		Object, Tenant space.ID
		Domain         string
	}
	permissionForm struct {
		Actions, NotActions uint8
		Condition           string
	}
	roleForm struct {
		ID          space.ID
		Name        string
		Permissions []permissionForm
	}
	assignmentForm struct {
		ID, Role space.ID
		Who      identityForm
		Path     space.Path
	}
	authForm struct {
		Kind               device.AuthKind
		Primary, Secondary []byte
		Thumbprints        []device.Thumbprint
		ThumbprintsSHA1    [][20]byte // as bytes: its text form is that of the management API
	}
	moduleForm struct {
		ID   string
		Auth authForm
	}
	deviceForm struct {
		ID                                 space.ID
		HubID, Name, HardwareID, GatewayID string
		Space                              space.ID
		Status                             device.Status
		Auth                               authForm
		Modules                            []moduleForm
	}
	functionForm struct {
		ID    space.ID
		Name  string
		Space space.ID
		Auth  authForm
	}
)

func identityOut(v model.Identity) identityForm {
	return identityForm{uint8(v.Kind), v.Object, v.Tenant, v.Domain}
}

func identityIn(f identityForm) model.Identity {
	return model.Identity{Kind: model.IdentityKind(f.Kind), Object: f.Object, Tenant: f.Tenant, Domain: f.Domain}
}

func roleOut(r model.Role) roleForm {
	f := roleForm{ID: r.ID, Name: r.Name}
	for _, p := range r.Permissions {
		f.Permissions = append(f.Permissions, permissionForm{uint8(p.Actions), uint8(p.NotActions), p.Condition})
	}
	return f
}

func roleIn(f roleForm) model.Role {
	r := model.Role{ID: f.ID, Name: f.Name}
	for _, p := range f.Permissions {
		r.Permissions = append(r.Permissions, model.Permission{
			Actions: model.Access(p.Actions), NotActions: model.Access(p.NotActions), Condition: p.Condition})
	}
	return r
}

func assignmentOut(a model.Assignment) assignmentForm {
	return assignmentForm{a.ID, a.Role, identityOut(a.Who), a.Path}
}

func assignmentIn(f assignmentForm) model.Assignment {
	return model.Assignment{ID: f.ID, Role: f.Role, Who: identityIn(f.Who), Path: f.Path}
}

func functionIn(f functionForm) device.Function {
	return device.Function{ID: f.ID, Name: f.Name, Space: f.Space, Auth: authIn(f.Auth)}
}

func same[T any](v T) T { return v }

func authOut(a device.Auth) authForm {
	f := authForm{Kind: a.Kind, Primary: a.Primary, Secondary: a.Secondary, Thumbprints: a.Thumbprints}
	for _, t := range a.ThumbprintsSHA1 {
		f.ThumbprintsSHA1 = append(f.ThumbprintsSHA1, t)
	}
	return f
}

func authIn(f authForm) device.Auth {
	a := device.Auth{Kind: f.Kind, Primary: f.Primary, Secondary: f.Secondary, Thumbprints: f.Thumbprints}
	for _, t := range f.ThumbprintsSHA1 {
		a.ThumbprintsSHA1 = append(a.ThumbprintsSHA1, t)
	}
	return a
}

func deviceOut(d device.Device) deviceForm {
	f := deviceForm{
		ID:         d.ID,
		HubID:      d.HubID,
		Name:       d.Name,
		HardwareID: d.HardwareID,
		GatewayID:  d.GatewayID,
		Space:      d.Space,
		Status:     d.Status,
		Auth:       authOut(d.Auth),
	}
	for _, m := range d.Modules {
		f.Modules = append(f.Modules, moduleForm{m.ID, authOut(m.Auth)})
	}
	return f
}

func deviceIn(f deviceForm) device.Device {
	d := device.Device{
		ID:         f.ID,
		HubID:      f.HubID,
		Name:       f.Name,
		HardwareID: f.HardwareID,
		GatewayID:  f.GatewayID,
		Space:      f.Space,
		Status:     f.Status,
		Auth:       authIn(f.Auth),
	}
	for _, m := range f.Modules {
		d.Modules = append(d.Modules, device.Module{ID: m.ID, Auth: authIn(m.Auth)})
	}
	return d
}

// item is one record to be written to the cache.
type item struct {
	kind kind
	id   space.ID
	form any
}

func items(p *model.Snapshot, d *device.Data) []item {
	var out []item
	out = appendItems(out, kindRole, p.Roles, func(v model.Role) (space.ID, any) { return v.ID, roleOut(v) })
	out = appendItems(out, kindAssignment, p.Assignments, func(v model.Assignment) (space.ID, any) { return v.ID, assignmentOut(v) })
	out = appendItems(out, kindAzureRole, p.AzureRoles, func(v model.AzureRole) (space.ID, any) { return v.ID, v })
	out = appendItems(out, kindAzureAssignment, p.AzureAssignments, func(v model.AzureAssignment) (space.ID, any) { return v.ID, v })
	out = appendItems(out, kindAzureDeny, p.AzureDenies, func(v model.AzureDeny) (space.ID, any) { return v.ID, v })
	out = appendItems(out, kindSpace, d.Spaces, func(v device.Space) (space.ID, any) { return v.ID, v })
	out = appendItems(out, kindDevice, d.Devices, func(v device.Device) (space.ID, any) { return v.ID, deviceOut(v) })
	out = appendItems(out, kindSensor, d.Sensors, func(v device.Sensor) (space.ID, any) { return v.ID, v })
	out = appendItems(out, kindFunction, d.Functions, func(v device.Function) (space.ID, any) {
		return v.ID, functionForm{v.ID, v.Name, v.Space, authOut(v.Auth)}
	})
	return appendItems(out, kindCA, d.CAs, func(v device.CA) (space.ID, any) { return v.ID, v })
}

func appendItems[T any](out []item, k kind, list []T, form func(T) (space.ID, any)) []item {
	for _, v := range list {
		id, f := form(v)
		out = append(out, item{k, id, f})
	}
	return out
}

// decodeItem adds one record to the generation.
func decodeItem(k kind, b []byte, p *model.Snapshot, d *device.Data) error {
	switch k {
	case kindRole:
		return decodeInto(b, &p.Roles, roleIn)
	case kindAssignment:
		return decodeInto(b, &p.Assignments, assignmentIn)
	case kindAzureRole:
		return decodeInto(b, &p.AzureRoles, same)
	case kindAzureAssignment:
		return decodeInto(b, &p.AzureAssignments, same)
	case kindAzureDeny:
		return decodeInto(b, &p.AzureDenies, same)
	case kindSpace:
		return decodeInto(b, &d.Spaces, same)
	case kindDevice:
		return decodeInto(b, &d.Devices, deviceIn)
	case kindSensor:
		return decodeInto(b, &d.Sensors, same)
	case kindFunction:
		return decodeInto(b, &d.Functions, functionIn)
	case kindCA:
		return decodeInto(b, &d.CAs, same)
	default:
		return fmt.Errorf("%w: record of unknown kind %d", ErrCorrupt, k)
	}
}

func decodeInto[F, T any](b []byte, list *[]T, in func(F) T) error {
	var f F
	if err := json.Unmarshal(b, &f); err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	*list = append(*list, in(f))
	return nil
}
