package principal

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// ParseIdentity reads {type}:{id}. A type that needs a tenant and is written
// without one (UserId:{guid} for UserId:{guid}/{tenant}) gets the home tenant.
func ParseIdentity(text string, home space.ID) (model.Identity, error) {
	i, err := model.ParseIdentity(text)
	if err != nil {
		if at, err := model.ParseIdentity(text + "/" + home.String()); err == nil {
			return at, nil
		}
	}
	return i, err
}

// Holder is a principal that matches exactly one identity, and no group. It is
// for questions and for peers of a unix socket, never for a token: what else a
// token would say of its user is not known.
func Holder(name string, i model.Identity) *Principal {
	p := &Principal{
		Kind:    User,
		Key:     name,
		Name:    name,
		Subject: model.Subject{Identities: []model.Identity{i}, GroupsKnown: true},
	}
	switch i.Kind {
	case model.UserID:
		p.Subject.Object = i.Object
	case model.ServicePrincipalID:
		p.Kind, p.Subject.Object = ServicePrincipal, i.Object
	case model.UserDefinedFunctionID:
		p.Kind = Function
	case model.DeviceID:
		p.Kind, p.Node = Device, i.Object
	}
	return p
}
