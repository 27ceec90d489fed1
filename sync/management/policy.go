package management

import (
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// policy answers what a subject may do; immutable. The zero policy refuses.
type policy struct{ index *authz.Index }

func (p policy) allowed(s *model.Subject, access model.Access, t model.ResourceType, at space.Path) bool {
	if p.index == nil || at.IsZero() {
		return false
	}
	return p.index.Decide(s, model.Operation{Access: access, Type: t}, at).Allowed
}

// follow derives the policy of next from that of its predecessor. A change set
// that the index refuses is compiled afresh: both lead to the same answers.
func (p policy) follow(c model.ChangeSet, next *state) policy {
	if p.index != nil {
		if index, _, err := p.index.Apply(c); err == nil {
			return policy{index}
		}
	}
	return compile(next)
}

func compile(s *state) policy {
	index, _ := authz.Compile(s.snapshot())
	return policy{index}
}

// view is what one caller may see of one snapshot, perhaps narrowed to a site.
// Feed and collections ask the same view, so that they cannot disagree.
type view struct {
	policy  policy
	subject *model.Subject
	site    space.Path // zero: not narrowed
	known   map[question]bool
}

type question struct {
	t  model.ResourceType
	at space.Path
}

func newView(p policy, s *model.Subject, site space.Path) *view {
	return &view{policy: p, subject: s, site: site, known: map[question]bool{}}
}

// mayRead keeps its answers, because a collection asks the same few questions for each
// row.
func (v *view) mayRead(t model.ResourceType, at space.Path) bool {
	q := question{t, at}
	ok, known := v.known[q]
	if !known {
		ok = v.policy.allowed(v.subject, model.Read, t, at)
		v.known[q] = ok
	}
	return ok
}

// sees tells whether an object of the given feed type at the given place is
// shown. Narrowed to a site, that is the site's subtree and, of what works
// from above (assignments, certificate authorities), the ancestors' as well: they are in
// force at the site, so a caller that may read there may read them.
func (v *view) sees(kind string, at space.Path) bool {
	if at.IsZero() {
		return false
	}
	t := resourceOf(kind)
	if v.site.IsZero() || v.site.Covers(at) {
		return v.mayRead(t, at)
	}
	switch kind {
	case wire.TypeAssignment, wire.TypeCA, wire.TypeAzureAssignment, wire.TypeAzureRole, wire.TypeAzureDeny:
		return at.Covers(v.site) && v.mayRead(t, v.site)
	}
	return false
}

// keys tells whether credentials of objects at the place are shown.
func (v *view) keys(at space.Path) bool { return v.mayRead(model.KeyStore, at) }

// is tells whether the caller has the identity: a device that asks for itself gets
// the credential that it starts with (docs/spec/management-api.md 5.2).
func (v *view) is(who model.Identity) bool { return slices.Contains(v.subject.Identities, who) }

// resourceOf says which right protects a type of the feed. Azure items have no
// place of their own and count as at "/"; who may read assignments may read them.
func resourceOf(kind string) model.ResourceType {
	switch kind {
	case wire.TypeAssignment, wire.TypeAzureAssignment, wire.TypeAzureRole, wire.TypeAzureDeny:
		return model.SpaceRoleAssignment
	case wire.TypeSpace:
		return model.Space
	case wire.TypeDevice, wire.TypeCA:
		return model.Device
	case wire.TypeSensor:
		return model.Sensor
	case wire.TypeFunction:
		return model.UserDefinedFunction
	case wire.TypeUser:
		return model.User
	case wire.TypeKeyStore:
		return model.KeyStore
	}
	panic(fmt.Sprintf("no right protects %q", kind)) // the kinds are our own constants: a bug
}
