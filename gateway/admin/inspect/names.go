package inspect

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// principalNamed returns the principal that an operator names: by a device or
// module id, a principal key, or {type}:{id}. If the principal has a session, its
// identities are those it connected with, the groups of its token included.
func (n *Inspector) principalNamed(name string) (*principal.Principal, error) {
	for _, s := range n.o.Broker.Sessions() {
		if s.Principal != nil && (s.Principal.Key == name || s.Connected && s.Principal.Name == name) {
			return s.Principal, nil
		}
	}
	for _, key := range []string{name, "device:" + name} {
		if p, err := n.o.Access.Imagine(key); err == nil {
			return p, nil
		}
	}
	if i, err := principal.ParseIdentity(name, n.o.Instance.Tenant); err == nil {
		return principal.Holder(name, i), nil
	}
	return nil, &admin.Error{
		Status: http.StatusNotFound,
		What:   fmt.Sprintf("nobody here is called %q", name),
		Where:  "principal",
		Next: "name a device id, a key from gatehousectl sessions, or UserId:{guid}, ServicePrincipalId:{guid}, " +
			"DomainName:@{domain}, TenantId:{guid}, UserDefinedFunctionId:{guid}",
	}
}

// placeNamed parses a space path, of ids or of names. A device id stands for the path of that device's space.
func (n *Inspector) placeNamed(topo *device.Topology, text string) (space.Path, error) {
	if dev, ok := topo.DeviceByHubID(text); ok {
		return topo.DevicePath(dev), nil
	}
	at, err := space.ParsePath(text)
	if err != nil {
		if named, ok := n.pathOf(topo, text); ok {
			return named, nil
		}
		return at, &admin.Error{
			Status: http.StatusNotFound,
			What:   fmt.Sprintf("%q is neither a device known here nor a space path", text),
			Where:  "place",
			Next:   "name a device id, or a path: / or /{guid}/{guid}…, or its names as they are printed: 'Harbour House / Lobby'",
		}
	}
	return at, nil
}

// Spaces lists the spaces of the registry, with their names.
func (n *Inspector) Spaces() []admin.Place {
	list := []admin.Place{}
	for s := range n.topology().Spaces() {
		list = append(list, place(s))
	}
	return list
}

func place(s *device.Space) admin.Place {
	p := admin.Place{ID: s.ID.String(), Name: s.Name}
	if !s.Parent.IsZero() {
		p.Parent = s.Parent.String()
	}
	return p
}

// siteName is the gateway's site by names; "" if they are not known.
func (n *Inspector) siteName() string {
	site, topo := n.o.Instance.Site.String(), n.topology()
	var above []admin.Place
	for _, text := range strings.Split(site, "/") {
		if id, err := space.ParseID(text); err == nil {
			if s, ok := topo.Space(id); ok {
				above = append(above, place(s))
			}
		}
	}
	if name := admin.NewPlaces(above).Named(site); name != site {
		return name
	}
	return ""
}

// pathOf returns the space path that is written by names as text, as Places writes it; false if there is none.
func (n *Inspector) pathOf(topo *device.Topology, text string) (space.Path, bool) {
	names := admin.NewPlaces(n.Spaces())
	for s := range topo.Spaces() {
		if names.Named(s.Path.String()) == text {
			return s.Path, true
		}
	}
	return space.Path{}, false
}

// label formats an identity as {type}:{id}. For a device of the registry it adds its hub
// device id.
func (n *Inspector) label(i model.Identity) string {
	switch i.Kind {
	case model.DomainName:
		return "DomainName:" + i.Domain
	case model.DeviceID:
		if dev, ok := n.topology().Device(i.Object); ok {
			return "DeviceId:" + i.Object.String() + " (" + dev.HubID + ")"
		}
	}
	return i.Kind.String() + ":" + i.Object.String()
}

func badQuestion(where string, err error) error {
	return &admin.Error{
		Status: http.StatusBadRequest,
		What:   err.Error(),
		Where:  where,
		Next:   "correct the argument; see gatehousectl COMMAND --help",
	}
}
