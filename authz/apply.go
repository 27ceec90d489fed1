package authz

import (
	"errors"
	"fmt"
	"maps"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// ErrGap means that a change set does not follow on the index: a full
// synchronisation is needed.
var ErrGap = errors.New("change set does not follow")

// GapError says between which versions the gap is. It wraps ErrGap.
type GapError struct {
	Have, From, To model.Version
}

func (e *GapError) Error() string {
	return fmt.Sprintf("%v: have %v, changes lead from %v to %v; full synchronisation needed", ErrGap, e.Have, e.From, e.To)
}

// Unwrap makes errors.Is(err, ErrGap) true.
func (e *GapError) Unwrap() error { return ErrGap }

// Apply derives the index of version c.To. It costs what changes (a role's
// redefinition also visits those who hold it) and shares the rest with ix,
// which stays valid. The keys name exactly the identities whose rights differ:
// for the space model those for which some decision, at some place, is another
// one; for the Azure model those whose set of assignments, definitions or
// denials is another one.
func (ix *Index) Apply(c model.ChangeSet) (*Index, []Key, error) {
	if !ix.loaded || c.From != ix.version || c.To.Epoch != c.From.Epoch || c.To.Number < c.From.Number {
		return nil, nil, &GapError{Have: ix.version, From: c.From, To: c.To}
	}
	next := *ix
	next.version = c.To
	d := delta{ix: &next, touched: map[model.Identity]struct{}{}}
	d.open(&c)
	d.assignments(&c)
	d.roles(&c)
	d.close()
	keys := d.keys(ix)
	if touchesAzure(&c) {
		var azureKeys []Key
		next.azure, azureKeys = ix.azure.apply(&next.hash, &c)
		keys = append(keys, azureKeys...)
	}
	if d.outgrown() {
		next.regrow()
	}
	return &next, keys, nil
}

// delta is a change under way: the parts of the index that it may write to.
type delta struct {
	ix      *Index
	people  *edit[shard]
	byID    *edit[[]uint64]
	touched map[model.Identity]struct{} // whose grants or roles changed
}

// open copies the small tables, if the change needs to write to them.
func (d *delta) open(c *model.ChangeSet) {
	d.people, d.byID = d.ix.people.edit(), d.ix.byID.edit()
	for i := range c.PutAssignments {
		a := &c.PutAssignments[i]
		if _, ok := d.ix.realms.byID[realm{a.Who.Kind, a.Who.Tenant, a.Who.Domain}]; !ok && a.Who.Validate() == nil {
			d.ix.realms = d.ix.realms.clone()
			break
		}
	}
	needRoles := len(c.PutRoles)+len(c.RemoveRoles) > 0
	for i := 0; i < len(c.PutAssignments) && !needRoles; i++ {
		_, ok := d.ix.roles.byID[c.PutAssignments[i].Role]
		needRoles = !ok
	}
	if needRoles {
		d.ix.roles = d.ix.roles.clone()
	}
	if len(c.PutAssignments)+len(c.RemoveAssigns) > 0 {
		d.ix.refused = maps.Clone(d.ix.refused)
	}
}

func (d *delta) assignments(c *model.ChangeSet) {
	for i := range c.RemoveAssigns {
		d.remove(&c.RemoveAssigns[i])
	}
	count := make(map[space.ID]int, len(c.PutAssignments))
	for i := range c.PutAssignments {
		d.remove(&c.PutAssignments[i].ID)
		count[c.PutAssignments[i].ID]++
	}
	for i := range c.PutAssignments {
		a := &c.PutAssignments[i]
		err := a.Validate()
		if err == nil && count[a.ID] > 1 {
			err = fmt.Errorf("%w assignment: its id is used twice", model.ErrInvalid)
		}
		if err != nil {
			d.ix.refused[a.ID] = refusedAssignment(a, err)
			continue
		}
		d.put(a)
	}
}

// remove takes the assignment out. One that is not there is no error: nothing
// is granted by it either way.
func (d *delta) remove(id *space.ID) {
	delete(d.ix.refused, *id)
	b, fp := d.ix.bucket(id)
	list := *d.byID.at(b)
	for i, ref := range list {
		if ref&^(1<<32-1) != fp {
			continue
		}
		n := uint32(ref)
		for j, g := range d.people.at(n).grants {
			if g.id != *id {
				continue
			}
			d.cut(n, uint32(j))
			rest := make([]uint64, 0, len(list)-1)
			*d.byID.mutable(b) = append(append(rest, list[:i]...), list[i+1:]...)
			d.ix.grants--
			return
		}
	}
}

// cut takes grant j out of shard n, and its identity with it if it was the last.
func (d *delta) cut(n, j uint32) {
	old := *d.people.at(n)
	sh := d.people.mutable(n)
	sh.entries = make([]entry, 0, len(old.entries))
	sh.grants = append(append(make([]grant, 0, len(old.grants)-1), old.grants[:j]...), old.grants[j+1:]...)
	for _, e := range old.entries {
		switch {
		case e.start > j:
			e.start--
		case j < e.start+e.n:
			d.touched[d.ix.identity(&e)] = struct{}{}
			e.n--
			e.sum -= d.ix.hash.grant(&old.grants[j], d.ix.roles.slots[old.grants[j].role])
			if e.n == 0 {
				d.ix.identities--
				continue
			}
		}
		sh.entries = append(sh.entries, e)
	}
}

// put inserts a valid assignment whose id is not in the tables.
func (d *delta) put(a *model.Assignment) {
	d.touched[a.Who] = struct{}{}
	g := grant{
		id: a.ID, at: &place{a.Path, d.ix.hash.text(a.Path.String())},
		key: pathKey(a.Path.String(), a.Path.Depth()), role: d.ix.roles.slot(a.Role),
	}
	h := d.ix.hash.identity(&a.Who)
	n := uint32(h >> d.ix.shift)
	old := *d.people.at(n)
	sh := d.people.mutable(n)
	entries, at := insertGrant(&old, a.Who.Object, uint32(h), d.ix.realms.slot(&a.Who), &g)
	if len(entries) > len(old.entries) {
		d.ix.identities++
	}
	entries[at.entry].sum += d.ix.hash.grant(&g, d.ix.roles.slots[g.role])
	sh.entries = entries
	sh.grants = append(append(append(make([]grant, 0, len(old.grants)+1), old.grants[:at.grant]...), g), old.grants[at.grant:]...)
	b, fp := d.ix.bucket(&a.ID)
	list := *d.byID.at(b)
	*d.byID.mutable(b) = append(append(make([]uint64, 0, len(list)+1), list...), fp|uint64(n))
	d.ix.grants++
}

type insertion struct{ entry, grant uint32 }

// insertGrant returns the shard's entries with room for g, and where it goes.
func insertGrant(old *shard, object space.ID, fp, realm uint32, g *grant) ([]entry, insertion) {
	entries := append(make([]entry, 0, len(old.entries)+1), old.entries...)
	for i := range entries {
		e := &entries[i]
		if e.fp != fp || e.object != object || e.realm != realm {
			continue
		}
		held := old.of(e)
		pos := 0
		for pos < len(held) && compareGrants(&held[pos], g) < 0 {
			pos++
		}
		e.n++
		for j := i + 1; j < len(entries); j++ {
			entries[j].start++
		}
		return entries, insertion{uint32(i), e.start + uint32(pos)}
	}
	end := uint32(len(old.grants))
	entries = append(entries, entry{object: object, fp: fp, realm: realm, start: end, n: 1})
	return entries, insertion{uint32(len(entries) - 1), end}
}

// roles redefines roles and visits those who hold one whose rights changed.
func (d *delta) roles(c *model.ChangeSet) {
	changed := map[uint32]bool{}
	mark := func(n uint32, differs bool) {
		if differs {
			changed[n] = true
		}
	}
	for _, id := range c.RemoveRoles {
		mark(d.ix.roles.remove(&d.ix.hash, id))
	}
	for _, r := range c.PutRoles {
		mark(d.ix.roles.define(&d.ix.hash, r))
	}
	if len(changed) == 0 {
		return
	}
	for n := range d.people.len() {
		for i := range d.people.at(n).entries {
			e := &d.people.at(n).entries[i]
			for _, g := range d.people.at(n).of(e) {
				if changed[g.role] {
					d.resum(n, i)
					break
				}
			}
		}
	}
}

// resum fingerprints an identity anew after one of its roles changed.
func (d *delta) resum(n uint32, i int) {
	sh := d.people.mutable(n)
	sh.entries = append([]entry(nil), sh.entries...)
	e := &sh.entries[i]
	d.touched[d.ix.identity(e)] = struct{}{}
	e.sum = 0
	for j := range sh.of(e) {
		g := &sh.grants[e.start+uint32(j)]
		e.sum += d.ix.hash.grant(g, d.ix.roles.slots[g.role])
	}
}

func (d *delta) close() {
	d.ix.people, d.ix.byID = d.people.table, d.byID.table
}

// outgrown tells whether the tables have become too small to be quick.
func (d *delta) outgrown() bool {
	return d.ix.identities > overfull*identitiesPerShard*int(d.ix.people.len()) ||
		d.ix.grants > overfull*grantsPerBucket*int(d.ix.byID.len())
}

// regrow rebuilds the tables in a larger size. Its cost is spread over the
// deltas that made it necessary.
func (ix *Index) regrow() {
	list := make([]model.Assignment, 0, ix.grants)
	ix.eachGrant(func(_ uint32, e *entry, g *grant) { list = append(list, ix.assignment(e, g)) })
	ix.identities = 0
	ix.place(list)
}

func (ix *Index) assignment(e *entry, g *grant) model.Assignment {
	return model.Assignment{ID: g.id, Role: ix.roles.slots[g.role].role.ID, Who: ix.identity(e), Path: g.at.path}
}
