package authz

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/gatehouse/gatehouse/authz/abac"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// azure is the compiled Azure half of a policy. Immutable; a delta copies the
// maps and shares the values.
type azure struct {
	roles       map[space.ID]*azureRole
	assignments map[space.ID]*azureAssignment
	held        map[space.ID][]*azureAssignment // by principal, in the order of ids
	denies      []*azureDeny                    // in the order of ids
	refused     map[space.ID]Problem
	known       []string // every data action that can be asked about by name
}

type azureRole struct {
	role             model.AzureRole
	actions, exclude []string // patterns in lower case
	sum              uint64
}

func (r *azureRole) allows(action string) bool {
	return matchesAny(r.actions, action) && !matchesAny(r.exclude, action)
}

func matchesAny(patterns []string, action string) bool {
	for _, p := range patterns {
		if abac.Glob(p, action) {
			return true
		}
	}
	return false
}

type azureAssignment struct {
	model.AzureAssignment
	where scopeSet
	when  when
	sum   uint64
}

type azureDeny struct {
	model.AzureDeny
	actions, exclude []string
	where            scopeSet
	when             when
	err              error // set if a part was not understood: the deny assignment then applies more widely than it says
	sum              uint64
}

// when is an ABAC condition; the zero value always holds.
type when struct {
	parsed *abac.Condition
	err    error
}

func parseCondition(text string) when {
	if text == "" {
		return when{}
	}
	parsed, err := abac.Parse(text)
	return when{parsed, err}
}

func (c *when) eval(q *abac.Query) abac.Truth {
	switch {
	case c.err != nil:
		return abac.Unknown
	case c.parsed == nil:
		return abac.True
	}
	return c.parsed.Eval(q)
}

// scopeSet is where an assignment applies.
type scopeSet struct {
	scope armScope
	at    []armScope // of a listed scope: where ARM lists it
}

// compileScope reads the scope of an assignment or a deny assignment. An entry
// of AtScopes that is no ARM id is left out, and unread is the error of the
// first one: a deny assignment must then apply everywhere, because it must not
// deny less than it says.
func compileScope(scope string, at []string) (s scopeSet, unread, err error) {
	no := func(text string) error { return fmt.Errorf("%w scope %.80q: want an ARM id", model.ErrInvalid, text) }
	var ok bool
	if s.scope, ok = normalScope(scope); !ok {
		return s, nil, no(scope)
	}
	for _, a := range at {
		if n, ok := normalScope(a); ok {
			s.at = append(s.at, n)
		} else if unread == nil {
			unread = no(a)
		}
	}
	slices.Sort(s.at)
	return s, unread, nil
}

// grants tells whether an assignment covers the scope: by the text of the id
// or, for a management group and for "/", where ARM lists it.
func (s *scopeSet) grants(asked string) bool {
	if !s.scope.listed() {
		return s.scope.covers(asked)
	}
	for _, a := range s.at {
		if sameFold(string(a), asked) {
			return true
		}
	}
	return false
}

// denies is grants for a deny assignment. In doubt it covers the scope: case is
// folded by Unicode, and what ARM lists at a scope is taken to hold below it
// too.
func (s *scopeSet) denies(asked string, notBelow bool) bool {
	if notBelow {
		return s.scope.foldCovers(asked) && armScope(asked).foldCovers(string(s.scope))
	}
	if !s.scope.listed() {
		return s.scope.foldCovers(asked)
	}
	for _, a := range s.at {
		if a.foldCovers(asked) {
			return true
		}
	}
	return false
}

// matches tells whether the principal of an assignment is the subject. Groups
// count only when they are known; a principal of unknown type matches nobody.
func matches(who model.AzurePrincipal, s *model.Subject) bool {
	switch who.Type {
	case model.AzureUser, model.AzureServicePrincipal:
		return !who.ID.IsZero() && who.ID == s.Object
	case model.AzureGroup:
		return !who.ID.IsZero() && s.GroupsKnown && slices.Contains(s.Groups, who.ID)
	}
	return false
}

// reaches tells whether the assignment is the subject's: it names it, or a group of which
// the subject is known to be a member, by its token or by ARM's own word.
func (a *azureAssignment) reaches(s *model.Subject) bool {
	return matches(a.Who, s) || a.Who.Type == model.AzureGroup && !s.Object.IsZero() && slices.Contains(a.Members, s.Object)
}

// mayMatch tells whether the principal of a deny assignment is the subject, or
// could be: unknown groups and unknown types match everybody.
func mayMatch(who model.AzurePrincipal, s *model.Subject) bool {
	switch who.Type {
	case model.AzureUser, model.AzureServicePrincipal:
		return who.ID.IsZero() || who.ID == s.Object
	case model.AzureGroup:
		return who.ID.IsZero() || !s.GroupsKnown || slices.Contains(s.Groups, who.ID)
	}
	return true // everyone, or a type that is not known
}

// concerns tells whether the deny is for the subject: one of its principals,
// and not provably excluded. Only users, service principals and known groups
// can be excluded.
func (d *azureDeny) concerns(s *model.Subject) bool {
	for _, who := range d.ExcludePrincipals {
		if matches(who, s) {
			return false
		}
	}
	for _, who := range d.Principals {
		if mayMatch(who, s) {
			return true
		}
	}
	return len(d.Principals) == 0 // a deny assignment for nobody makes no sense: it is read as one for everybody
}

func (d *azureDeny) applies(s *model.Subject, q *abac.Query) bool {
	return d.where.denies(q.Scope, d.DoNotApplyToChildScopes) &&
		matchesAny(d.actions, q.Action) && !matchesAny(d.exclude, q.Action) &&
		d.concerns(s) && d.when.eval(q) != abac.False
}

// DecideAction tells whether the subject may do the data action at the ARM
// scope, by the Azure model: some assignment grants it and no deny assignment
// applies. It allocates nothing unless a condition needs to.
func (ix *Index) DecideAction(s *model.Subject, action, scope string) Decision {
	return ix.DecideRequest(s, abac.Query{Action: action, Scope: scope})
}

// DecideRequest is DecideAction with attributes of the request and the
// resource, for conditions that look at them. The resource's name and those
// of its parents are known from the scope.
func (ix *Index) DecideRequest(s *model.Subject, q abac.Query) Decision {
	out := Decision{index: ix}
	scope, ok := askedScope(q.Scope)
	q.Scope = scope
	switch {
	case !ix.loaded:
		out.Reason = NoPolicy
		return out
	case !ok || !askableAction(q.Action):
		out.Reason = MalformedQuestion
		return out
	case s.Object.IsZero():
		out.Reason = NotEntraPrincipal
		return out
	}
	for _, d := range ix.azure.denies {
		if d.applies(s, &q) {
			out.Reason, out.by = DenyAssignment, d
			return out
		}
	}
	out.Reason = NoAssignment
	ix.azure.decide(&out, ix.azure.held[s.Object], s, &q)
	for i := 0; s.GroupsKnown && i < len(s.Groups) && !out.Allowed; i++ {
		ix.azure.decide(&out, ix.azure.held[s.Groups[i]], s, &q)
	}
	return out
}

// decide looks for a grant among the assignments. If there is none, it sets out
// to the reason of the assignment that came closest.
func (z *azure) decide(out *Decision, held []*azureAssignment, s *model.Subject, q *abac.Query) {
	for _, a := range held {
		if !a.reaches(s) {
			continue
		}
		reason := z.judge(a, q)
		if closeness[reason] > closeness[out.Reason] {
			out.Reason, out.by = reason, a
		}
		if reason == Granted {
			out.Allowed = true
			return
		}
	}
}

// closeness orders the outcomes of single assignments.
var closeness = [...]uint8{
	NoAssignment:       0,
	OutsideScope:       1,
	RoleLacksOperation: 2,
	RoleUnusable:       3,
	ConditionNotMet:    4,
	ConditionUnknown:   5,
	Granted:            6,
}

func (z *azure) judge(a *azureAssignment, q *abac.Query) Reason {
	if !a.where.grants(q.Scope) {
		return OutsideScope
	}
	role := z.roles[a.Role]
	if role == nil {
		return RoleUnusable
	}
	if !role.allows(q.Action) {
		return RoleLacksOperation
	}
	switch a.when.eval(q) {
	case abac.True:
		return Granted
	case abac.False:
		return ConditionNotMet
	}
	return ConditionUnknown
}

// askableAction refuses the empty action, a pattern, and any byte that is no
// printable ASCII: the cases of other letters could be folded in two ways.
func askableAction(action string) bool {
	for i := range len(action) {
		if c := action[i]; c == '*' || c <= ' ' || c >= 0x7f {
			return false
		}
	}
	return action != ""
}

// version fingerprints everything that can concern the subject.
func (z *azure) version(s *model.Subject) uint64 {
	v := z.heldSum(s.Object)
	if s.GroupsKnown {
		for i := range s.Groups {
			v += z.heldSum(s.Groups[i])
		}
	}
	for _, d := range z.denies {
		if d.concerns(s) {
			v += d.sum
		}
	}
	return v
}

// heldSum fingerprints the assignments of one principal and what their roles allow.
func (z *azure) heldSum(id space.ID) (sum uint64) {
	for _, a := range z.held[id] {
		sum += a.sum
		if r := z.roles[a.Role]; r != nil {
			sum += mix(a.sum|1, r.sum)
		}
	}
	return sum
}

func (z *azure) problems() []Problem {
	out := slices.Collect(maps.Values(z.refused))
	for _, a := range z.assignments {
		if a.when.err != nil {
			out = append(out, Problem{Kind: IgnoredCondition, ID: a.ID, Detail: a.when.err.Error()})
		}
		if z.roles[a.Role] == nil {
			out = append(out, Problem{
				Kind:   UnknownRole,
				ID:     a.Role,
				Detail: "assigned by " + a.ID.String() + ", but there is no such Azure role definition",
			})
		}
	}
	for _, d := range z.denies {
		if err := cmp.Or(d.err, d.when.err); err != nil {
			out = append(out, Problem{Kind: ConservativeDeny, ID: d.ID, Name: d.Name, Detail: err.Error()})
		}
	}
	return out
}
