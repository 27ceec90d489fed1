package management

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// kinds are all resources by the type that the feed and the store give them.
var kinds = map[string]interface {
	object(s *state, v *view, id space.ID, in includes) any
	load(d *draft, id space.ID, row []byte, o wire.Object) error
	count(d *draft) int
}{
	wire.TypeSpace:           spaces,
	wire.TypeDevice:          devices,
	wire.TypeSensor:          sensors,
	wire.TypeFunction:        functions,
	wire.TypeUser:            users,
	wire.TypeKeyStore:        keyStores,
	wire.TypeAssignment:      assignments,
	wire.TypeCA:              authorities,
	wire.TypeAzureAssignment: azureAssignments,
	wire.TypeAzureRole:       azureRoles,
	wire.TypeAzureDeny:       azureDenies,
}

// What lies in a space.

var spaces = &resource[wire.Space]{
	kind:       wire.TypeSpace,
	collection: "spaces",
	noun:       "space",
	members: members{
		create: []string{"name", "description", "friendlyName", "type", "typeId", "parentSpaceId", "children", "users"},
		change: []string{"name", "description", "friendlyName", "type", "typeId", "parentSpaceId"},
		typed:  true,
	},
	rows:   func(f *frozen) *rows[wire.Space] { return &f.spaces },
	draft:  func(d *draft) *edit[wire.Space] { return &d.spaces },
	id:     func(w *wire.Space) space.ID { return w.ID },
	at:     func(p places, w *wire.Space) space.Path { return p.path(w.ID) },
	name:   func(w *wire.Space) string { return w.Name },
	passes: func(q query, w *wire.Space) bool { return q.passes("name", w.Name) && q.passes("types", w.Type) },
	show:   func(s *state, v *view, w *wire.Space, in includes) any { return s.showSpace(v, w, in) },
	parse:  wire.ParseSpace,
	parent: func(w *wire.Space) space.ID { return w.ParentSpaceID },
}

var devices = &resource[wire.Device]{
	kind:       wire.TypeDevice,
	collection: "devices",
	noun:       "device",
	members: members{
		create: append(deviceMembers(), "createIoTHubDevice", "sensors"),
		change: deviceMembers(),
		typed:  true,
	},
	rows:  func(f *frozen) *rows[wire.Device] { return &f.devices },
	draft: func(d *draft) *edit[wire.Device] { return &d.devices },
	id:    func(d *wire.Device) space.ID { return d.ID },
	at:    func(p places, d *wire.Device) space.Path { return p.path(d.SpaceID) },
	name:  func(d *wire.Device) string { return d.Name },
	passes: func(q query, d *wire.Device) bool {
		return q.passes("hardwareIds", d.HardwareID) && q.passes("names", d.Name) && q.passes("gateways", d.GatewayID) &&
			q.passes("status", d.Status) && q.passes("types", d.Type) && q.passes("subtypes", d.Subtype)
	},
	show:  func(s *state, v *view, d *wire.Device, in includes) any { return s.showDevice(v, d, in) },
	parse: wire.ParseDevice,
}

var sensors = &resource[wire.Sensor]{
	kind:       wire.TypeSensor,
	collection: "sensors",
	noun:       "sensor",
	members: members{
		create: []string{"deviceId", "spaceId", "hardwareId", "port", "pollRate", "type", "typeId", "dataType", "dataTypeId"},
		typed:  true,
	},
	rows:  func(f *frozen) *rows[wire.Sensor] { return &f.sensors },
	draft: func(d *draft) *edit[wire.Sensor] { return &d.sensors },
	id:    func(n *wire.Sensor) space.ID { return n.ID },
	at:    func(p places, n *wire.Sensor) space.Path { return p.path(n.SpaceID) },
	name:  func(n *wire.Sensor) string { return n.HardwareID },
	passes: func(q query, n *wire.Sensor) bool {
		return q.passesID("deviceIds", n.DeviceID) && q.passes("hardwareIds", n.HardwareID) &&
			q.passes("types", n.Type) && q.passes("dataTypes", n.DataType)
	},
	show:  func(s *state, _ *view, n *wire.Sensor, in includes) any { return s.showSensor(n, in) },
	parse: wire.ParseSensor,
}

func deviceMembers() []string {
	return []string{"name", "friendlyName", "description", "type", "typeId", "subtype", "subtypeId", "hardwareId", "gatewayId", "spaceId",
		"status", "deviceId", "authentication", "modules"}
}

// Functions are read only: they are created by Import.
var functions = &resource[wire.Function]{
	kind:   wire.TypeFunction,
	noun:   "function",
	rows:   func(f *frozen) *rows[wire.Function] { return &f.functions },
	draft:  func(d *draft) *edit[wire.Function] { return &d.functions },
	id:     func(f *wire.Function) space.ID { return f.ID },
	at:     func(p places, f *wire.Function) space.Path { return p.path(f.SpaceID) },
	name:   func(f *wire.Function) string { return f.Name },
	passes: func(q query, f *wire.Function) bool { return q.passes("names", f.Name) },
	show:   func(s *state, v *view, f *wire.Function, in includes) any { return s.showFunction(v, f, in) },
	parse:  wire.ParseFunction,
}

var users = &resource[wire.User]{
	kind: wire.TypeUser,
	noun: "user",
	members: members{
		create: []string{"upn", "firstName", "lastName", "location", "spaceId"},
	},
	rows:   func(f *frozen) *rows[wire.User] { return &f.users },
	draft:  func(d *draft) *edit[wire.User] { return &d.users },
	id:     func(u *wire.User) space.ID { return u.ID },
	at:     func(p places, u *wire.User) space.Path { return p.path(u.SpaceID) },
	name:   func(u *wire.User) string { return u.UPN },
	passes: func(q query, u *wire.User) bool { return q.passes("upns", u.UPN) },
	show:   func(s *state, _ *view, u *wire.User, in includes) any { return s.showUser(u, in) },
	parse:  wire.ParseUser,
}

var keyStores = &resource[wire.KeyStore]{
	kind:       wire.TypeKeyStore,
	collection: "keystores",
	noun:       "key store",
	members:    members{create: []string{"name", "description", "spaceId"}},
	rows:       func(f *frozen) *rows[wire.KeyStore] { return &f.keystores },
	draft:      func(d *draft) *edit[wire.KeyStore] { return &d.keystores },
	id:         func(k *wire.KeyStore) space.ID { return k.ID },
	at:         func(p places, k *wire.KeyStore) space.Path { return p.path(k.SpaceID) },
	name:       func(k *wire.KeyStore) string { return k.Name },
	passes:     func(query, *wire.KeyStore) bool { return true },
	show:       func(s *state, _ *view, k *wire.KeyStore, in includes) any { return s.showKeyStore(k, in) },
	// No parse: the API never reads the keys of a store, so wire has no parser for them.
}

// What is bound to a path, or to none. These have lists of their own, without
// the filters of the tree.

var assignments = &resource[model.Assignment]{
	kind:       wire.TypeAssignment,
	collection: "roleassignments",
	noun:       "role assignment",
	members:    members{create: []string{"roleId", "objectId", "objectIdType", "tenantId", "path"}},
	rows:       func(f *frozen) *rows[model.Assignment] { return &f.assignments },
	draft:      func(d *draft) *edit[model.Assignment] { return &d.assignments },
	id:         func(a *model.Assignment) space.ID { return a.ID },
	at:         func(_ places, a *model.Assignment) space.Path { return a.Path },
	show:       func(_ *state, _ *view, a *model.Assignment, _ includes) any { return wire.FromAssignment(*a) },
	parse:      func(o wire.Object) (model.Assignment, error) { return wire.ParseAssignment(o, space.ID{}) },
}

var authorities = &resource[device.CA]{
	kind: wire.TypeCA,
	noun: "certificate authority",
	members: members{
		create: []string{"id", "path", "certificate", "crl"},
	},
	rows:  func(f *frozen) *rows[device.CA] { return &f.cas },
	draft: func(d *draft) *edit[device.CA] { return &d.cas },
	id:    func(ca *device.CA) space.ID { return ca.ID },
	at:    func(_ places, ca *device.CA) space.Path { return ca.Path },
	show:  func(_ *state, _ *view, ca *device.CA, _ includes) any { return wire.FromCA(*ca) },
	parse: wire.ParseCA,
}

// Items of Azure have no place in the tree, and count as at "/".

var azureAssignments = &resource[model.AzureAssignment]{
	kind:  wire.TypeAzureAssignment,
	noun:  "item",
	rows:  func(f *frozen) *rows[model.AzureAssignment] { return &f.azureAssignments },
	draft: func(d *draft) *edit[model.AzureAssignment] { return &d.azureAssignments },
	id:    func(a *model.AzureAssignment) space.ID { return a.ID },
	at:    func(places, *model.AzureAssignment) space.Path { return space.Root },
	show:  func(_ *state, _ *view, a *model.AzureAssignment, _ includes) any { return wire.FromAzureAssignment(*a) },
	parse: wire.ParseAzureAssignment,
}

var azureRoles = &resource[model.AzureRole]{
	kind:  wire.TypeAzureRole,
	noun:  "item",
	rows:  func(f *frozen) *rows[model.AzureRole] { return &f.azureRoles },
	draft: func(d *draft) *edit[model.AzureRole] { return &d.azureRoles },
	id:    func(r *model.AzureRole) space.ID { return r.ID },
	at:    func(places, *model.AzureRole) space.Path { return space.Root },
	show:  func(_ *state, _ *view, r *model.AzureRole, _ includes) any { return wire.FromAzureRole(*r) },
	parse: wire.ParseAzureRole,
}

var azureDenies = &resource[model.AzureDeny]{
	kind:  wire.TypeAzureDeny,
	noun:  "item",
	rows:  func(f *frozen) *rows[model.AzureDeny] { return &f.azureDenies },
	draft: func(d *draft) *edit[model.AzureDeny] { return &d.azureDenies },
	id:    func(d *model.AzureDeny) space.ID { return d.ID },
	at:    func(places, *model.AzureDeny) space.Path { return space.Root },
	show:  func(_ *state, _ *view, d *model.AzureDeny, _ includes) any { return wire.FromAzureDeny(*d) },
	parse: wire.ParseAzureDeny,
}
