package model

import (
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
)

// String is "Read Sensor", or "Read ExtendedType/DeviceType" with a category.
func (o Operation) String() string {
	s := o.Access.String() + " " + o.Type.String()
	if o.Category != NoCategory {
		s += "/" + o.Category.String()
	}
	return s
}

// ParseOperation reads what Operation.String writes, in any case. The
// operation is valid when there is no error.
func ParseOperation(s string) (Operation, error) {
	access, resource, ok := strings.Cut(strings.TrimSpace(s), " ")
	if !ok {
		return Operation{}, fmt.Errorf("%w operation %q: want ACCESS TYPE, as in Read Sensor", ErrSyntax, s)
	}
	typ, category, _ := strings.Cut(resource, "/")
	var o Operation
	var err error
	if o.Access, err = ParseAccess(access); err != nil {
		return Operation{}, err
	}
	if o.Type, err = ParseResourceType(typ); err != nil {
		return Operation{}, err
	}
	if o.Category, err = ParseCategory(category); err != nil {
		return Operation{}, err
	}
	return o, o.Validate()
}

// MarshalText is String.
func (o Operation) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText is ParseOperation.
func (o *Operation) UnmarshalText(b []byte) (err error) {
	*o, err = ParseOperation(string(b))
	return err
}

// String is "UserId:{object}/{tenant}", "DeviceId:{object}",
// "DomainName:@example.com/{tenant}" and so on; "" for no identity.
func (i Identity) String() string {
	if i.Kind == NoIdentity {
		return ""
	}
	s := i.Kind.String() + ":"
	if i.Kind == DomainName {
		s += i.Domain
	} else {
		s += i.Object.String()
	}
	if !i.Tenant.IsZero() {
		s += "/" + i.Tenant.String()
	}
	return s
}

// ParseIdentity reads what Identity.String writes; the result is valid when
// there is no error.
func ParseIdentity(s string) (Identity, error) {
	kind, rest, ok := strings.Cut(strings.TrimSpace(s), ":")
	if !ok {
		return Identity{}, fmt.Errorf("%w identity %q: want KIND:OBJECT or KIND:OBJECT/TENANT, as in DeviceId:…", ErrSyntax, s)
	}
	var i Identity
	var err error
	if i.Kind, err = ParseIdentityKind(kind); err != nil {
		return Identity{}, err
	}
	object, tenant, hasTenant := strings.Cut(rest, "/")
	if i.Kind == DomainName {
		i.Domain = strings.ToLower(strings.TrimSpace(object))
	} else if i.Object, err = space.ParseID(object); err != nil {
		return Identity{}, err
	}
	if hasTenant {
		if i.Tenant, err = space.ParseID(tenant); err != nil {
			return Identity{}, err
		}
	}
	return i, i.Validate()
}

// MarshalText is String.
func (i Identity) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText is ParseIdentity; the empty text is no identity.
func (i *Identity) UnmarshalText(b []byte) (err error) {
	if len(b) == 0 {
		*i = Identity{}
		return nil
	}
	*i, err = ParseIdentity(string(b))
	return err
}
