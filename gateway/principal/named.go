package principal

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// ParseIdentity reads {type}:{id}. The tenant of an identity that needs one may be left out
// (UserId:{guid} for UserId:{guid}/{tenant}); it is then the home tenant.
func ParseIdentity(text string, home space.ID) (model.Identity, error) {
	i, err := model.ParseIdentity(text)
	if err != nil {
		if at, err := model.ParseIdentity(text + "/" + home.String()); err == nil {
			return at, nil
		}
	}
	return i, err
}

// Holder returns a principal with exactly one identity and no groups. It stands for a
// unix-socket peer, or for somebody of whom an operator asks. It must not stand for the owner
// of a token, which states further identities.
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
