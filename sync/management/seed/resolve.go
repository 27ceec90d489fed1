package seed

import (
	"errors"
	"fmt"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// resolver turns a File into a Topology and collects everything that is wrong.
type resolver struct {
	t        *Topology
	spaces   map[string]space.ID
	ids      map[space.ID]string
	problems problems
}

func resolve(f *File) (*Topology, error) {
	r := &resolver{
		t: &Topology{HomeTenant: f.HomeTenant, kinds: map[string]device.AuthKind{}, paths: map[string]space.Path{},
			devices: map[string]space.ID{}, identity: map[string]model.Identity{}},
		spaces: map[string]space.ID{}, ids: map[space.ID]string{},
	}
	if f.HomeTenant.IsZero() {
		r.bad(0, "homeTenant is required")
	}
	for _, s := range f.Spaces {
		r.space(s, space.Root)
	}
	for i := range f.Devices {
		r.device(&f.Devices[i])
	}
	r.principals(f)
	for i := range f.Assignments {
		r.assignment(&f.Assignments[i])
	}
	for i := range f.AzureAssignments {
		r.azure(&f.AzureAssignments[i])
	}
	if err := r.problems.err(); err != nil {
		return nil, err
	}
	return r.t, nil
}

func (r *resolver) bad(line int, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if line > 0 {
		text = fmt.Sprintf("line %d: %s", line, text)
	}
	r.problems.add(errors.New(text))
}

// unique claims an id for one element of the file.
func (r *resolver) unique(id space.ID, what string) {
	if id.IsZero() {
		r.bad(0, "%s: no id", what)
		return
	}
	if other, taken := r.ids[id]; taken {
		r.bad(0, "%s: has the id of %s", what, other)
	}
	r.ids[id] = what
}

func (r *resolver) space(s Space, up space.Path) {
	r.unique(s.ID, "space "+s.Key)
	if _, twice := r.spaces[s.Key]; twice || s.Key == "" || s.Key == "/" {
		r.bad(0, "space %q: the key is missing or used twice", s.Key)
	}
	path := up.Join(s.ID)
	r.spaces[s.Key], r.t.paths[s.Key] = s.ID, path
	r.t.content.Spaces = append(r.t.content.Spaces, wire.Space{ID: s.ID, Name: s.Name, ParentSpaceID: up.Space()})
	for _, c := range s.Children {
		r.space(c, path)
	}
}

func (r *resolver) at(line int, key string) space.ID {
	id, ok := r.spaces[key]
	if !ok {
		r.bad(line, "there is no space %q", key)
	}
	return id
}

func (r *resolver) device(d *Device) {
	r.unique(d.ID, "device "+d.DeviceID)
	if err := device.CheckID(d.DeviceID); err != nil {
		r.bad(d.Line, "deviceId: %v", err)
	}
	if _, twice := r.t.devices[d.DeviceID]; twice {
		r.bad(d.Line, "device %q is there twice", d.DeviceID)
	}
	kind, ok := parseAuth(d.Auth)
	if !ok {
		r.bad(d.Line, "device %q: auth: want sas, selfSigned, ca or none", d.DeviceID)
	}
	status := device.Active
	if d.Status != "" {
		if status, ok = wire.ParseStatus(d.Status); !ok {
			r.bad(d.Line, "device %q: unknown status %q", d.DeviceID, d.Status)
		}
	}
	r.t.kinds[d.DeviceID], r.t.devices[d.DeviceID] = kind, d.ID
	r.t.content.Devices = append(r.t.content.Devices, wire.Device{
		ID:         d.ID,
		Name:       d.DeviceID,
		DeviceID:   d.DeviceID,
		HardwareID: d.HardwareID,
		GatewayID:  d.GatewayID,
		SpaceID:    r.at(d.Line, d.Space),
		Status:     wire.StatusName(status),
	})
	for _, s := range d.Sensors {
		r.unique(s.ID, "sensor "+s.HardwareID)
		key := s.Space
		if key == "" {
			key = d.Space
		}
		r.t.content.Sensors = append(r.t.content.Sensors, wire.Sensor{
			ID: s.ID, DeviceID: d.ID, SpaceID: r.at(d.Line, key), HardwareID: s.HardwareID, Type: s.Type,
		})
	}
}

func (r *resolver) principals(f *File) {
	name := func(n string, i model.Identity) {
		if _, twice := r.t.identity[n]; twice || n == "" {
			r.bad(0, "the name %q is missing or used twice", n)
		}
		r.unique(i.Object, i.Kind.String()+" "+n)
		r.t.identity[n] = i
	}
	for _, fn := range f.Functions {
		name(fn.Name, model.Identity{Kind: model.UserDefinedFunctionID, Object: fn.ID})
		r.t.content.Functions = append(r.t.content.Functions, wire.Function{ID: fn.ID, Name: fn.Name, SpaceID: r.at(0, fn.Space)})
	}
	for _, u := range f.Users {
		name(u.UPN, model.Identity{Kind: model.UserID, Object: u.ID, Tenant: f.HomeTenant})
		r.t.content.Users = append(r.t.content.Users, wire.User{
			ID: u.ID, UPN: u.UPN, FirstName: u.FirstName, LastName: u.LastName, SpaceID: r.at(0, u.Space),
		})
	}
	for _, p := range f.ServicePrincipals {
		name(p.Name, model.Identity{Kind: model.ServicePrincipalID, Object: p.ID, Tenant: f.HomeTenant})
	}
	for _, k := range f.KeyStores {
		r.unique(k.ID, "key store "+k.Name)
		r.t.content.KeyStores = append(r.t.content.KeyStores, wire.KeyStore{ID: k.ID, Name: k.Name, SpaceID: r.at(0, k.Space)})
	}
}

func (r *resolver) assignment(a *Assignment) {
	r.unique(a.ID, fmt.Sprintf("the assignment at line %d", a.Line))
	m := model.Assignment{ID: a.ID, Path: space.Root}
	for _, role := range model.SystemRoles() {
		if role.Name == a.Role {
			m.Role = role.ID
		}
	}
	if m.Role.IsZero() {
		r.bad(a.Line, "there is no role %q", a.Role)
	}
	if a.At != "/" {
		r.at(a.Line, a.At)
		m.Path = r.t.paths[a.At]
	}
	m.Who = r.who(a)
	r.t.content.Assignments = append(r.t.content.Assignments, m)
}

func (r *resolver) who(a *Assignment) model.Identity {
	var found []model.Identity
	w := a.Who
	if w.Device != "" {
		id, ok := r.t.devices[w.Device]
		if !ok {
			r.bad(a.Line, "there is no device %q", w.Device)
		}
		found = append(found, model.Identity{Kind: model.DeviceID, Object: id})
	}
	for kind, name := range map[model.IdentityKind]string{
		model.UserID: w.User, model.ServicePrincipalID: w.ServicePrincipal, model.UserDefinedFunctionID: w.Function,
	} {
		if name != "" {
			found = append(found, r.named(a.Line, kind, name))
		}
	}
	if w.Domain != "" {
		domain, err := wire.ParseDomain(w.Domain)
		if err != nil {
			r.bad(a.Line, "domain: %v", err)
		}
		found = append(found, model.Identity{Kind: model.DomainName, Domain: domain, Tenant: r.t.HomeTenant})
	}
	if !w.Tenant.IsZero() {
		found = append(found, model.Identity{Kind: model.TenantID, Object: w.Tenant})
	}
	if len(found) != 1 {
		r.bad(a.Line, "who: exactly one of device, user, servicePrincipal, function, domain, tenant is required")
		return model.Identity{}
	}
	return found[0]
}

func (r *resolver) named(line int, kind model.IdentityKind, name string) model.Identity {
	i, ok := r.t.identity[name]
	if !ok || i.Kind != kind {
		r.bad(line, "there is no %s %q", kind, name)
	}
	return i
}

func (r *resolver) azure(a *AzureAssignment) {
	r.unique(a.ID, fmt.Sprintf("the Azure assignment at line %d", a.Line))
	m := model.AzureAssignment{ID: a.ID, Role: a.Role, Scope: a.Scope}
	switch {
	case a.User != "" && a.ServicePrincipal == "":
		m.Who = model.AzurePrincipal{ID: r.named(a.Line, model.UserID, a.User).Object, Type: model.AzureUser}
	case a.ServicePrincipal != "" && a.User == "":
		m.Who = model.AzurePrincipal{
			ID: r.named(a.Line, model.ServicePrincipalID, a.ServicePrincipal).Object, Type: model.AzureServicePrincipal,
		}
	default:
		r.bad(a.Line, "exactly one of user, servicePrincipal is required")
	}
	if err := m.Validate(); err != nil {
		r.bad(a.Line, "%v", err)
	}
	r.t.content.AzureAssignments = append(r.t.content.AzureAssignments, m)
}
