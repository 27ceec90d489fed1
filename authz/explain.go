package authz

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/abac"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// maxMisses is how many near misses an explanation lists.
const maxMisses = 16

// Grant is an assignment with its role by name. In the space model Who and
// Path are set, in the Azure model Principal and Scope.
type Grant struct {
	Assignment space.ID             `json:"assignment"`
	Role       space.ID             `json:"role"`
	RoleName   string               `json:"roleName,omitempty"`
	Who        model.Identity       `json:"who,omitzero"`
	Path       space.Path           `json:"path,omitzero"`
	Principal  model.AzurePrincipal `json:"principal,omitzero"`
	Scope      string               `json:"scope,omitempty"`
}

// RoleLabel is the role's name, or its id if it has none.
func (g *Grant) RoleLabel() string { return cmp.Or(g.RoleName, g.Role.String()) }

// Place is the path or scope.
func (g *Grant) Place() string { return cmp.Or(g.Scope, g.Path.String()) }

// Holder is whom the assignment names.
func (g *Grant) Holder() string {
	if g.Who.Kind != model.NoIdentity {
		return g.Who.String()
	}
	return cmp.Or(g.Principal.Type.String(), "Unknown") + ":" + g.Principal.ID.String()
}

// Miss is a grant that did not grant.
type Miss struct {
	Grant
	Why    Reason `json:"why"`
	Detail string `json:"detail"` // one sentence for people
	rank   int    // 0 is nearest
	shared int    // levels of the path in common with the question
}

// Explanation says why a decision is as it is.
type Explanation struct {
	Outcome
	Need     string   `json:"need"`             // what was asked, "Create Sensor" or a data action
	At       string   `json:"at"`               // path or scope
	Granting []Grant  `json:"granting"`         // all that grant it, the deciding one first
	Misses   []Miss   `json:"misses"`           // nearest first
	OneOf    []string `json:"wouldNeedOneOf"`   // roles that would grant it, when refused
	Denial   string   `json:"denial,omitempty"` // the deny assignment that applies
}

// Explain decides and says why. The decision is that of Decide.
func (ix *Index) Explain(s *model.Subject, op model.Operation, at space.Path) Explanation {
	op = op.Resolved()
	out := Explanation{Outcome: ix.Decide(s, op, at).Outcome(), Need: op.String(), At: at.String()}
	if out.Reason == MalformedQuestion || out.Reason == NoPolicy {
		return out
	}
	for i := range s.Identities {
		c := ix.find(&s.Identities[i])
		if c == nil {
			continue
		}
		for j := range c.held {
			g := ix.grantOf(c, &c.held[j])
			role := ix.roles.slots[c.held[j].role]
			if role.rights.Allows(op) && g.Path.Covers(at) {
				out.Granting = append(out.Granting, g)
				continue
			}
			out.Misses = append(out.Misses, missed(g, role, op, at))
		}
	}
	if !out.Allowed {
		for _, r := range ix.roles.slots {
			if r.rights.Allows(op) {
				out.OneOf = append(out.OneOf, cmp.Or(r.role.Name, r.role.ID.String()))
			}
		}
		slices.Sort(out.OneOf)
	}
	out.trim()
	return out
}

func (ix *Index) grantOf(c *cell, g *grant) Grant {
	r := &ix.roles.slots[g.role].role
	return Grant{Assignment: g.id, Role: r.ID, RoleName: r.Name, Who: ix.identity(c), Path: g.path.Path()}
}

// missed says how near the grant came.
func missed(g Grant, role *roleSlot, op model.Operation, at space.Path) Miss {
	m := Miss{Grant: g, shared: sharedDepth(g.Path, at)}
	here := g.Path.Covers(at)
	switch {
	case here && role.usable():
		m.Why, m.rank = RoleLacksOperation, 0
		m.Detail = fmt.Sprintf("holds %s at %s, which covers it; needs %s", g.RoleLabel(), g.Path, needs(op))
	case !here && role.rights.Allows(op):
		m.Why, m.rank = OutsideScope, 1
		m.Detail = fmt.Sprintf("holds %s, which allows %s, but at %s", g.RoleLabel(), needs(op), g.Path)
	case here:
		m.Why, m.rank = RoleUnusable, 0
		m.Detail = fmt.Sprintf("is assigned %s at %s, but that role is not defined", g.RoleLabel(), g.Path)
		if role.err != nil {
			m.Detail = fmt.Sprintf("is assigned %s at %s, but that role was refused: %v", g.RoleLabel(), g.Path, role.err)
		}
	default:
		m.Why, m.rank = OutsideScope, 2
		m.Detail = fmt.Sprintf("holds %s at %s, which is elsewhere and does not allow it", g.RoleLabel(), g.Path)
	}
	return m
}

// needs is the operation in words: "Create on Sensor".
func needs(op model.Operation) string {
	access, resource, _ := strings.Cut(op.String(), " ")
	return access + " on " + resource
}

func sharedDepth(a, b space.Path) int {
	for a.Depth() > 0 && !a.Covers(b) {
		a, _ = a.Parent()
	}
	return a.Depth()
}

// trim orders the misses and keeps the nearest.
func (x *Explanation) trim() {
	slices.SortStableFunc(x.Misses, func(a, b Miss) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(b.shared, a.shared))
	})
	if len(x.Misses) > maxMisses {
		x.Misses = x.Misses[:maxMisses]
	}
	// The deciding grant first; the others as found.
	for i := range x.Granting {
		if x.Granting[i].Assignment == x.Assignment {
			x.Granting[0], x.Granting[i] = x.Granting[i], x.Granting[0]
		}
	}
}

// ExplainAction decides a data action and says why. The decision is that of
// DecideAction.
func (ix *Index) ExplainAction(s *model.Subject, action, scope string) Explanation {
	return ix.ExplainRequest(s, abac.Query{Action: action, Scope: scope})
}

// ExplainRequest is ExplainAction with attributes, as DecideRequest.
func (ix *Index) ExplainRequest(s *model.Subject, q abac.Query) Explanation {
	out := Explanation{Outcome: ix.DecideRequest(s, q).Outcome(), Need: q.Action, At: q.Scope}
	switch out.Reason {
	case MalformedQuestion, NoPolicy, NotEntraPrincipal:
		return out
	}
	q.Scope, _ = askedScope(q.Scope)
	for _, a := range ix.azure.concerning(s) {
		g := ix.azure.grantOf(a)
		why := ix.azure.judge(a, &q)
		if why == Granted {
			out.Granting = append(out.Granting, g)
			continue
		}
		out.Misses = append(out.Misses, Miss{
			Grant:  g,
			Why:    why,
			Detail: azureDetail(&g, why, &q),
			rank:   int(closeness[Granted] - closeness[why]),
		})
	}
	if out.Reason == DenyAssignment {
		for _, d := range ix.azure.denies {
			if d.ID == out.Assignment {
				out.Denial = fmt.Sprintf("deny assignment %q (%s) at %s applies", d.Name, d.ID, d.Scope)
			}
		}
	} else if !out.Allowed {
		for _, r := range ix.azure.roles {
			if r.allows(q.Action) {
				out.OneOf = append(out.OneOf, cmp.Or(r.role.Name, r.role.ID.String()))
			}
		}
		slices.Sort(out.OneOf)
	}
	out.trim()
	return out
}

// concerning lists the assignments whose principal is the subject.
func (z *azure) concerning(s *model.Subject) []*azureAssignment {
	var out []*azureAssignment
	take := func(id space.ID) {
		for _, a := range z.held[id] {
			if a.reaches(s) && !slices.Contains(out, a) {
				out = append(out, a)
			}
		}
	}
	take(s.Object)
	if s.GroupsKnown {
		for _, g := range s.Groups {
			take(g)
		}
	}
	return out
}

func (z *azure) grantOf(a *azureAssignment) Grant {
	g := Grant{Assignment: a.ID, Role: a.Role, Principal: a.Who, Scope: a.Scope}
	if r := z.roles[a.Role]; r != nil {
		g.RoleName = r.role.Name
	}
	return g
}

func azureDetail(g *Grant, why Reason, q *abac.Query) string {
	switch why {
	case OutsideScope:
		return fmt.Sprintf("holds %s, but at %s", g.RoleLabel(), g.Scope)
	case RoleLacksOperation:
		return fmt.Sprintf("holds %s at %s, which covers it; needs %s", g.RoleLabel(), g.Scope, q.Action)
	case RoleUnusable:
		return fmt.Sprintf("is assigned %s at %s, but that role is not defined", g.RoleLabel(), g.Scope)
	case ConditionNotMet:
		return fmt.Sprintf("holds %s at %s, but the assignment's condition is not met", g.RoleLabel(), g.Scope)
	}
	return fmt.Sprintf("holds %s at %s, but the assignment's condition cannot be evaluated", g.RoleLabel(), g.Scope)
}
