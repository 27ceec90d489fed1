package authz

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// compileAzure builds the Azure half of a complete snapshot.
func compileAzure(h *hasher, s *model.Snapshot) azure {
	z := azure{
		roles: map[space.ID]*azureRole{}, assignments: map[space.ID]*azureAssignment{},
		held: map[space.ID][]*azureAssignment{}, refused: map[space.ID]Problem{},
	}
	for _, r := range model.AzureBuiltInRoles() {
		z.roles[r.ID] = compileAzureRole(h, r)
	}
	e := azureEdit{azure: &z, hash: h, touched: map[space.ID]bool{}}
	e.put(s.AzureRoles, s.AzureAssignments)
	e.deny(nil, s.AzureDenies)
	return z
}

func touchesAzure(c *model.ChangeSet) bool {
	return len(c.PutAzureRoles)+len(c.RemoveAzureRoles)+len(c.PutAzureAssignments)+
		len(c.RemoveAzureAssigns)+len(c.PutAzureDenies)+len(c.RemoveAzureDenies) > 0
}

// apply derives the next azure half and names whose rights differ.
func (z *azure) apply(h *hasher, c *model.ChangeSet) (azure, []Key) {
	next := azure{
		roles: maps.Clone(z.roles), assignments: maps.Clone(z.assignments), held: maps.Clone(z.held),
		denies: slices.Clone(z.denies), refused: maps.Clone(z.refused),
	}
	e := azureEdit{azure: &next, hash: h, touched: map[space.ID]bool{}}
	for _, id := range c.RemoveAzureRoles {
		e.removeRole(id)
	}
	for _, id := range c.RemoveAzureAssigns {
		e.removeAssignment(id)
	}
	e.put(c.PutAzureRoles, c.PutAzureAssignments)
	e.deny(c.RemoveAzureDenies, c.PutAzureDenies)
	return next, e.keys(z)
}

// azureEdit is an azure under construction. It owns its maps; the slices in
// held are shared with the parent, so they are replaced and never written to.
type azureEdit struct {
	*azure
	hash    *hasher
	touched map[space.ID]bool // principals
	all     bool              // touched: everyone
	roleSet bool              // some role changed
}

func (e *azureEdit) put(roles []model.AzureRole, assignments []model.AzureAssignment) {
	for _, r := range roles {
		e.roles[r.ID] = compileAzureRole(e.hash, r)
		e.roleSet = true
	}
	added := map[space.ID][]*azureAssignment{}
	twice := twiceUsed(assignments, func(a *model.AzureAssignment) space.ID { return a.ID })
	for _, a := range assignments {
		e.removeAssignment(a.ID)
		where, _, err := compileScope(a.Scope, a.AtScopes)
		if err == nil {
			err = a.Validate()
		}
		if err == nil && twice[a.ID] {
			err = fmt.Errorf("%w azure assignment: its id is used twice", model.ErrInvalid)
		}
		if err != nil {
			e.refused[a.ID] = Problem{Kind: RefusedAssignment, ID: a.ID, Detail: err.Error()}
			continue
		}
		c := &azureAssignment{AzureAssignment: a, where: where, when: parseCondition(a.Condition)}
		c.sum = e.hash.text(fmt.Sprintf("%q", []any{a.ID, a.Role, a.Who, c.where, a.Condition, a.Members}))
		e.assignments[a.ID] = c
		for _, who := range holders(&c.AzureAssignment) {
			e.touched[who] = true
			added[who] = append(added[who], c)
		}
	}
	for who := range e.touched {
		e.hold(who, added[who])
	}
	e.known = knownActions(e.roles)
}

func twiceUsed[T any](list []T, id func(*T) space.ID) map[space.ID]bool {
	seen := make(map[space.ID]bool, len(list)) // true: more than once
	for i := range list {
		_, again := seen[id(&list[i])]
		seen[id(&list[i])] = again
	}
	return seen
}

// hold builds the list of one principal anew: what it held before without what
// is removed, and what is added.
func (e *azureEdit) hold(who space.ID, added []*azureAssignment) {
	list := make([]*azureAssignment, 0, len(e.held[who])+len(added))
	for _, a := range e.held[who] {
		if e.assignments[a.ID] == a {
			list = append(list, a)
		}
	}
	if list = append(list, added...); len(list) == 0 {
		delete(e.held, who)
		return
	}
	slices.SortFunc(list, func(a, b *azureAssignment) int { return compareIDs(a.ID, b.ID) })
	e.held[who] = list
}

// removeAssignment removes the assignment from all but the list of its
// principal, which put builds anew.
func (e *azureEdit) removeAssignment(id space.ID) {
	delete(e.refused, id)
	if a, ok := e.assignments[id]; ok {
		delete(e.assignments, id)
		for _, who := range holders(&a.AzureAssignment) {
			e.touched[who] = true
		}
	}
}

// holders are the principals in whose lists an assignment stands, each once: whom it names,
// and those of whom ARM said that they belong to the group that it names.
func holders(a *model.AzureAssignment) []space.ID {
	if !names(a.Who) {
		return nil
	}
	out := []space.ID{a.Who.ID}
	if a.Who.Type != model.AzureGroup {
		return out
	}
	for _, m := range a.Members {
		if !m.IsZero() && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

// removeRole undefines the role, or returns a built-in one to its published form.
func (e *azureEdit) removeRole(id space.ID) {
	e.roleSet = true
	delete(e.roles, id)
	for _, r := range model.AzureBuiltInRoles() {
		if r.ID == id {
			e.roles[id] = compileAzureRole(e.hash, r)
		}
	}
}

// deny removes deny assignments and adds others. Of several with the same id
// all apply: leaving one out could grant something.
func (e *azureEdit) deny(remove []space.ID, put []model.AzureDeny) {
	gone := make(map[space.ID]bool, len(remove)+len(put))
	for _, id := range remove {
		gone[id] = true
	}
	for i := range put {
		gone[put[i].ID] = true
	}
	e.denies = slices.DeleteFunc(e.denies, func(d *azureDeny) bool {
		if gone[d.ID] {
			e.touchDeny(d)
		}
		return gone[d.ID]
	})
	for _, d := range put {
		c := compileDeny(e.hash, d)
		e.denies = append(e.denies, c)
		e.touchDeny(c)
	}
	slices.SortFunc(e.denies, func(a, b *azureDeny) int { return cmp.Or(compareIDs(a.ID, b.ID), cmp.Compare(a.sum, b.sum)) })
}

// names tells whether a principal is one that is named, rather than everyone or
// a type that is not known.
func names(who model.AzurePrincipal) bool {
	return who.Type != model.UnknownPrincipal && who.Type != model.AzureEveryone && !who.ID.IsZero()
}

// touchDeny marks the principals that a deny assignment is for as touched.
func (e *azureEdit) touchDeny(d *azureDeny) {
	e.all = e.all || len(d.Principals) == 0
	for _, who := range d.Principals {
		if names(who) {
			e.touched[who.ID] = true
		} else {
			e.all = true
		}
	}
}

// keys compares fingerprints with those of before.
func (e *azureEdit) keys(before *azure) []Key {
	if e.roleSet {
		for id := range e.held {
			e.touched[id] = true
		}
	}
	var out []Key
	for id := range e.touched {
		if before.principalSum(id) != e.principalSum(id) {
			out = append(out, Key{Principal: id})
		}
	}
	slices.SortFunc(out, func(a, b Key) int { return compareIDs(a.Principal, b.Principal) })
	if e.all && before.everyoneSum() != e.everyoneSum() {
		out = append(out, Key{Everyone: true})
	}
	return out
}

// principalSum fingerprints what names the principal.
func (z *azure) principalSum(id space.ID) uint64 {
	sum := z.heldSum(id)
	for _, d := range z.denies {
		if slices.ContainsFunc(d.Principals, func(p model.AzurePrincipal) bool { return p.ID == id && names(p) }) {
			sum += d.sum
		}
	}
	return sum
}

// everyoneSum fingerprints the denials that are not for listed principals.
func (z *azure) everyoneSum() (sum uint64) {
	for _, d := range z.denies {
		e := azureEdit{touched: map[space.ID]bool{}}
		if e.touchDeny(d); e.all {
			sum += d.sum
		}
	}
	return sum
}

func compileAzureRole(h *hasher, r model.AzureRole) *azureRole {
	c := &azureRole{role: r, actions: patterns(r.DataActions), exclude: patterns(r.NotDataActions)}
	c.sum = h.text(fmt.Sprintf("%q", []any{r.ID, c.actions, c.exclude}))
	return c
}

func compileDeny(h *hasher, d model.AzureDeny) *azureDeny {
	c := &azureDeny{AzureDeny: d, actions: patterns(d.DataActions), exclude: patterns(d.NotDataActions), when: parseCondition(d.Condition)}
	var unread error
	if c.where, unread, c.err = compileScope(d.Scope, d.AtScopes); c.err == nil && c.where.scope.listed() {
		c.err = unread
	}
	if c.err != nil {
		// A scope that cannot be read covers everything.
		c.where, c.DoNotApplyToChildScopes = scopeSet{at: []armScope{""}}, false
	}
	for _, who := range d.Principals {
		if who.Type == model.UnknownPrincipal && c.err == nil {
			c.err = fmt.Errorf("%w deny assignment: names %s of a type that is not known", model.ErrInvalid, who.ID)
		}
	}
	c.sum = h.text(fmt.Sprintf("%q", []any{
		d.ID, c.actions, c.exclude, c.where, d.DoNotApplyToChildScopes, d.Principals, d.ExcludePrincipals, d.Condition,
	}))
	return c
}

func patterns(list []string) []string {
	out := make([]string, 0, len(list))
	for _, p := range list {
		out = append(out, lowerASCII(p))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// knownActions are the published data actions and those that roles name in full.
func knownActions(roles map[space.ID]*azureRole) []string {
	out := patterns(model.DataActions())
	for _, r := range roles {
		for _, a := range r.actions {
			if askableAction(a) {
				out = append(out, a)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
