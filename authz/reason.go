package authz

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Reason is the stable code of a decision. Its String is a contract: audit
// records, metrics and scenario files use it.
type Reason uint8

// The reasons. Of several that would fit a refusal, the one given is that of
// the grant which came closest: see Decision.
const (
	NoPolicy           Reason = iota // nothing has been loaded yet
	Granted                          // an assignment grants it
	MalformedQuestion                // no such operation, no place, no scope
	NoAssignment                     // the subject holds nothing at all
	OutsideScope                     // what the subject holds lies elsewhere
	RoleLacksOperation               // holds a role here, but it does not allow this
	RoleUnusable                     // holds a role here that is unknown or was refused
	NotEntraPrincipal                // a device or function holds nothing in the Azure model
	DenyAssignment                   // a deny assignment applies
	ConditionNotMet                  // would be granted, but the assignment's condition is false
	ConditionUnknown                 // would be granted, but the condition cannot be evaluated
)

var reasonNames = [...]string{
	NoPolicy:           "no-policy",
	Granted:            "granted",
	MalformedQuestion:  "malformed-question",
	NoAssignment:       "no-assignment",
	OutsideScope:       "outside-scope",
	RoleLacksOperation: "role-lacks-operation",
	RoleUnusable:       "role-unusable",
	NotEntraPrincipal:  "not-an-entra-principal",
	DenyAssignment:     "deny-assignment",
	ConditionNotMet:    "condition-not-met",
	ConditionUnknown:   "condition-unknown",
}

// String is the stable code.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// MarshalText is String.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// Decision is the answer to one question. The zero Decision refuses. It points
// into the index that decided, because most callers only ask for Allowed, and
// the rest would be computed for nothing. Whoever keeps a decision keeps its
// Outcome, which does not hold the index in memory.
//
// It has four fields of four words together, which the compiler keeps in
// registers.
type Decision struct {
	Allowed bool
	Reason  Reason
	index   *Index
	by      ground // nil: nothing
}

// ground is what a decision rests on: a *grant, *azureAssignment or *azureDeny.
type ground interface {
	// ids of the assignment and its role, if it has one.
	ids(ix *Index) (assignment, role space.ID)
}

func (g *grant) ids(ix *Index) (assignment, role space.ID) {
	return g.id, ix.roles.slots[g.role].role.ID
}

func (a *azureAssignment) ids(*Index) (assignment, role space.ID) { return a.ID, a.Role }

func (d *azureDeny) ids(*Index) (assignment, role space.ID) { return d.ID, space.ID{} }

// Outcome is a decision that stands on its own. Comparable.
type Outcome struct {
	Allowed bool   `json:"allowed"`
	Reason  Reason `json:"reason"`
	// Assignment and Role granted it, or came closest: the deepest covering
	// assignment whose role does not allow it; failing that, one that is held
	// elsewhere (Explain puts those in order). For DenyAssignment, Assignment
	// is the deny assignment. Zero when there is none.
	Assignment space.ID `json:"assignment,omitzero"`
	Role       space.ID `json:"role,omitzero"`
	// Version of the policy that decided.
	Version model.Version `json:"version"`
}

// Outcome is the decision with everything that can be said of it.
func (d Decision) Outcome() Outcome {
	r := Outcome{Allowed: d.Allowed, Reason: d.Reason}
	if d.index != nil {
		r.Version = d.index.version
	}
	if d.by != nil {
		r.Assignment, r.Role = d.by.ids(d.index)
	}
	return r
}
