package model

import (
	"errors"
	"fmt"
	"strings"
)

// ErrInvalid is what every error of the Validate methods wraps.
var ErrInvalid = errors.New("invalid")

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// Validate tells whether the operation is one that can be asked: exactly one
// access type, a known resource type, a known category or none.
func (o Operation) Validate() error {
	switch {
	case !o.Access.Single():
		return invalid("operation: want exactly one of Create, Read, Update, Delete")
	case o.Type == NoResource || o.Type >= ResourceTypes:
		return invalid("operation: no such resource type")
	case o.Category >= Categories:
		return invalid("operation: no such category")
	}
	return nil
}

// Resolved is the operation as decisions see it: a Space operation without a
// category is WithoutSpecifiedRbacResourceTypes (docs/spec/management-api.md 2).
func (o Operation) Resolved() Operation {
	if o.Type == Space && o.Category == NoCategory {
		o.Category = WithoutSpecifiedRbacResourceTypes
	}
	return o
}

// Validate checks the rules of docs/spec/management-api.md 3.1, in their
// resolved form: a tenant that was optional has been filled in.
func (i Identity) Validate() error {
	switch i.Kind {
	case UserID, ServicePrincipalID:
		if i.Object.IsZero() || i.Domain != "" {
			return invalid("%s: needs an object id and no domain", i.Kind)
		}
		if i.Tenant.IsZero() {
			return invalid("%s: needs a tenant id", i.Kind)
		}
	case DeviceID, TenantID, UserDefinedFunctionID:
		if i.Object.IsZero() || i.Domain != "" {
			return invalid("%s: needs an object id and no domain", i.Kind)
		}
		if !i.Tenant.IsZero() {
			return invalid("%s: a tenant id is not allowed", i.Kind)
		}
	case DomainName:
		if !i.Object.IsZero() {
			return invalid("DomainName: an object id is not allowed")
		}
		if len(i.Domain) < 2 || i.Domain[0] != '@' || strings.ContainsAny(i.Domain[1:], "@ /\t\r\n") {
			return invalid("DomainName: must begin with @, as in @example.com")
		}
		if i.Domain != strings.ToLower(i.Domain) {
			return invalid("DomainName: must be in lower case")
		}
		if i.Tenant.IsZero() {
			return invalid("DomainName: needs a tenant id")
		}
	default:
		return invalid("identity: no objectIdType")
	}
	return nil
}

// Validate checks everything about an assignment that can be seen without the
// rest of the snapshot.
func (a *Assignment) Validate() error {
	switch {
	case a.ID.IsZero():
		return invalid("assignment: no id")
	case a.Role.IsZero():
		return invalid("assignment: no role id")
	case a.Path.IsZero():
		return invalid("assignment: no path")
	}
	return a.Who.Validate()
}

// Validate checks the form of a role; its conditions are checked by the
// package condition, which knows their language.
func (r *Role) Validate() error {
	if r.ID.IsZero() {
		return invalid("role %q: no id", r.Name)
	}
	for n, p := range r.Permissions {
		if (p.Actions|p.NotActions)&^AllAccess != 0 {
			return invalid("role %q: permission %d: unknown access type", r.Name, n+1)
		}
	}
	return nil
}

// Validate checks the form of an Azure assignment. A principal type that is
// not known is no error here: it grants nothing.
func (a *AzureAssignment) Validate() error {
	switch {
	case a.ID.IsZero():
		return invalid("azure assignment: no id")
	case a.Role.IsZero():
		return invalid("azure assignment: no role definition id")
	case !strings.HasPrefix(a.Scope, "/"):
		return invalid("azure assignment: scope %q is no ARM id", a.Scope)
	}
	return nil
}
