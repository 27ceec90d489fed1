package access

import (
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Imagine returns the principal that a key names (principal.Principal.Key), with the identities
// that it would have if it connected now. It is meant for Explain and must never be used for a
// connection. A user counts as a member of its tenant; its domain and groups are unknown,
// because only a token tells them.
func (c *Control) Imagine(key string) (*principal.Principal, error) {
	kind, rest, _ := strings.Cut(key, ":")
	p := &principal.Principal{Key: key, Name: rest}
	switch kind {
	case "device", "module":
		hub, module := rest, ""
		p.Kind = principal.Device
		if kind == "module" {
			p.Kind = principal.Module
			hub, module, _ = strings.Cut(rest, "/")
		}
		e := c.env()
		if e.topology == nil {
			return nil, fmt.Errorf("principal %q: there is no registry yet", key)
		}
		dev, ok := e.topology.DeviceByHubID(hub)
		if !ok {
			return nil, fmt.Errorf("principal %q: no usable device has this hub device id", key)
		}
		p.DeviceID, p.ModuleID, p.Node = hub, module, dev.ID
		p.Subject.Identities = []model.Identity{{Kind: model.DeviceID, Object: dev.ID}}
		return p, nil
	case "user", "sp":
		tid, oid, _ := strings.Cut(rest, "/")
		tenant, err := space.ParseID(tid)
		if err != nil {
			return nil, fmt.Errorf("principal %q: tenant: %w", key, err)
		}
		object, err := space.ParseID(oid)
		if err != nil {
			return nil, fmt.Errorf("principal %q: object: %w", key, err)
		}
		p.Subject.Object = object
		if kind == "sp" {
			p.Kind = principal.ServicePrincipal
			p.Subject.Identities = []model.Identity{{Kind: model.ServicePrincipalID, Object: object, Tenant: tenant}}
			return p, nil
		}
		p.Kind = principal.User
		p.Subject.Identities = []model.Identity{{Kind: model.UserID, Object: object, Tenant: tenant}, {Kind: model.TenantID, Object: tenant}}
		return p, nil
	case "function":
		fn, err := space.ParseID(rest)
		if err != nil {
			return nil, fmt.Errorf("principal %q: %w", key, err)
		}
		p.Kind = principal.Function
		p.Subject.Identities = []model.Identity{{Kind: model.UserDefinedFunctionID, Object: fn}}
		return p, nil
	}
	return nil, fmt.Errorf("principal %q: want device:{id}, module:{device}/{module}, user:{tenant}/{object}, "+
		"sp:{tenant}/{object} or function:{guid}", key)
}
