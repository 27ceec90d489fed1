package authz

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/device/space"
)

// ProblemKind says what a Problem is about.
type ProblemKind string

// The kinds.
const (
	RefusedRole       ProblemKind = "refused-role"        // does not compile, or is defined twice
	UnknownRole       ProblemKind = "unknown-role"        // assigned, but not defined
	RefusedAssignment ProblemKind = "refused-assignment"  // malformed, or its id is used twice
	IgnoredCondition  ProblemKind = "unusable-condition"  // an Azure condition that cannot be evaluated
	ConservativeDeny  ProblemKind = "conservative-denial" // a deny assignment not fully understood: it denies
)

// Problem is a part of the policy that was not taken at face value. It never
// stops the rest; health shows it.
type Problem struct {
	Kind   ProblemKind `json:"kind"`
	ID     space.ID    `json:"id"` // of the role or assignment
	Name   string      `json:"name,omitempty"`
	Detail string      `json:"detail"`
}

func (p Problem) String() string {
	if p.Name != "" {
		return fmt.Sprintf("%s %s (%s): %s", p.Kind, p.Name, p.ID, p.Detail)
	}
	return fmt.Sprintf("%s %s: %s", p.Kind, p.ID, p.Detail)
}

func sortProblems(ps []Problem) []Problem {
	slices.SortFunc(ps, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), compareIDs(a.ID, b.ID), cmp.Compare(a.Detail, b.Detail))
	})
	return ps
}
