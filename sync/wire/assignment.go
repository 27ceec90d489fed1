package wire

import (
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Assignment is a role assignment as the API shows it (docs/spec/management-api.md 3.1).
type Assignment struct {
	ID           space.ID   `json:"id,omitzero"`
	RoleID       space.ID   `json:"roleId"`
	ObjectID     string     `json:"objectId"`
	ObjectIDType string     `json:"objectIdType"`
	TenantID     space.ID   `json:"tenantId,omitzero"`
	Path         space.Path `json:"path"`
}

// FromAssignment is the API's form of a.
func FromAssignment(a model.Assignment) Assignment {
	w := Assignment{
		ID: a.ID, RoleID: a.Role, Path: a.Path,
		ObjectIDType: a.Who.Kind.String(), TenantID: a.Who.Tenant,
	}
	if a.Who.Kind == model.DomainName {
		w.ObjectID = a.Who.Domain
	} else {
		w.ObjectID = a.Who.Object.String()
	}
	return w
}

// ParseNewAssignment reads what a client posts. The rules for tenantId are
// those of docs/spec/management-api.md 3.1: required for users and service principals,
// optional for domains (home, then), refused for devices and tenants.
func ParseNewAssignment(o Object, home space.ID) (model.Assignment, error) {
	a, tenant, err := parseAssignment(o)
	if err != nil {
		return model.Assignment{}, err
	}
	switch a.Who.Kind {
	case model.UserID, model.ServicePrincipalID:
		if tenant.IsZero() {
			return model.Assignment{}, invalid("tenantId", "required for objectIdType %s", a.Who.Kind.String())
		}
	case model.DeviceID, model.TenantID:
		if !tenant.IsZero() {
			return model.Assignment{}, invalid("tenantId", "not allowed for objectIdType %s", a.Who.Kind.String())
		}
	}
	a.ID = space.ID{}
	a.Who.Tenant = tenantOf(a.Who.Kind, tenant, home)
	return a, nil
}

// ParseAssignment reads an assignment of a server's answer. If tenantId is missing, it is
// the home tenant of the instance (docs/spec/semantics.md 2.3). For an identity that has no
// tenant it is dropped.
func ParseAssignment(o Object, home space.ID) (model.Assignment, error) {
	id, err := o.RequiredID("id")
	if err != nil {
		return model.Assignment{}, err
	}
	a, tenant, err := parseAssignment(o)
	if err != nil {
		return model.Assignment{}, err
	}
	a.ID = id
	a.Who.Tenant = tenantOf(a.Who.Kind, tenant, home)
	return a, nil
}

func tenantOf(k model.IdentityKind, given, home space.ID) space.ID {
	switch k {
	case model.UserID, model.ServicePrincipalID, model.DomainName:
		if given.IsZero() {
			return home
		}
		return given
	}
	return space.ID{}
}

func parseAssignment(o Object) (a model.Assignment, tenant space.ID, err error) {
	fail := func(err error) (model.Assignment, space.ID, error) {
		return model.Assignment{}, space.ID{}, err
	}
	if a.Role, err = o.RequiredID("roleId"); err != nil {
		return fail(err)
	}
	kindText, err := o.String("objectIdType", 64)
	if err != nil {
		return fail(err)
	}
	if kindText == "" {
		return fail(invalid("objectIdType", "required"))
	}
	kind, err := model.ParseIdentityKind(kindText)
	if err != nil {
		return fail(invalid("objectIdType", "not one of UserId, DeviceId, DomainName, TenantId, ServicePrincipalId, UserDefinedFunctionId"))
	}
	a.Who.Kind = kind
	if kind == model.DomainName {
		text, err := o.String("objectId", 256)
		if err != nil {
			return fail(err)
		}
		if a.Who.Domain, err = ParseDomain(text); err != nil {
			return fail(err)
		}
	} else if a.Who.Object, err = o.RequiredID("objectId"); err != nil {
		return fail(err)
	}
	if tenant, err = o.ID("tenantId"); err != nil {
		return fail(err)
	}
	text, err := o.String("path", 4096)
	if err != nil {
		return fail(err)
	}
	if text == "" {
		return fail(invalid("path", "required"))
	}
	if a.Path, err = space.ParsePath(text); err != nil {
		return fail(invalid("path", "want / or /{guid}/{guid}…"))
	}
	return a, tenant, nil
}

// ParseDomain reads the objectId of a DomainName: "@example.com", in lower case.
func ParseDomain(s string) (string, error) {
	s = strings.TrimSpace(s)
	if !strings.HasPrefix(s, "@") {
		return "", invalid("objectId", "a domain name must begin with @")
	}
	d := s[1:]
	if d == "" || len(d) > 253 || strings.HasPrefix(d, ".") || strings.HasSuffix(d, ".") || strings.Contains(d, "..") {
		return "", invalid("objectId", "not a domain name")
	}
	for _, r := range d {
		if r <= ' ' || r == '@' || r == '/' || r == ',' || r == ';' || r == 0x7f || r == 0xa0 {
			return "", invalid("objectId", "not a domain name")
		}
	}
	return "@" + strings.ToLower(d), nil
}
