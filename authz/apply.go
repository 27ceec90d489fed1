package authz

import (
	"errors"
	"fmt"
	"maps"
	"slices"

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

// Apply derives the index of version c.To. It costs what changes (redefining a
// role also visits everybody who holds it) and shares the rest with ix, which
// stays valid. The keys name exactly the identities whose rights differ. In the
// space model these are the identities for which at least one decision at some
// place is another one; in the Azure model, those whose set of assignments,
// definitions or deny assignments is another one.
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
	if d.outgrown() {
		d.regrow()
	}
	next.byID = d.byID.array
	if d.newRoles {
		next.roles.turn()
	}
	keys := d.keys(ix)
	if touchesAzure(&c) {
		var azureKeys []Key
		next.azure, azureKeys = ix.azure.apply(&next.hash, &c)
		keys = append(keys, azureKeys...)
	}
	return &next, keys, nil
}

// delta is the index that Apply builds: it copies a part of its parent before
// it writes to that part for the first time.
type delta struct {
	ix      *Index
	own     []uint64 // bit per block of people: copied already
	byID    *edit[[]uint64]
	touched map[model.Identity]struct{} // whose grants or roles changed

	newRoles bool // the table of roles is a copy
}

// open copies what every change writes to (the lists of blocks) and, if this
// change needs them, the roles, the realms and the refused assignments.
func (d *delta) open(c *model.ChangeSet) {
	d.ix.people = slices.Clone(d.ix.people)
	d.own = make([]uint64, (len(d.ix.people)+63)/64)
	d.byID = d.ix.byID.edit()
	for i := range c.PutAssignments {
		a := &c.PutAssignments[i]
		k := realmOf(&a.Who)
		if _, ok := d.ix.realms.byID[k]; !ok && !k.plain() && a.Who.Validate() == nil {
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
		d.newRoles = true
	}
	if len(c.PutAssignments)+len(c.RemoveAssigns) > 0 {
		d.ix.refused = maps.Clone(d.ix.refused)
	}
}

// assignments removes assignments and adds others. It handles each identity
// once: a change to thousands of assignments of one identity must not copy its
// run of grants thousands of times.
func (d *delta) assignments(c *model.ChangeSet) {
	gone := map[uint64][]space.ID{} // by the hash of the identities that may hold them
	for i := range c.RemoveAssigns {
		d.look(&c.RemoveAssigns[i], gone)
	}
	count := make(map[space.ID]int, len(c.PutAssignments))
	for i := range c.PutAssignments {
		d.look(&c.PutAssignments[i].ID, gone)
		count[c.PutAssignments[i].ID]++
	}
	for hash, ids := range gone {
		d.cut(hash, ids)
	}
	var order []*model.Identity
	puts := map[model.Identity][]grant{}
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
		if _, known := puts[a.Who]; !known {
			order = append(order, &a.Who)
		}
		puts[a.Who] = append(puts[a.Who], grant{
			id: a.ID, path: a.Path.Line(),
			key: a.Path.Key(a.Path.Depth()), role: d.ix.roles.slot(a.Role),
		})
	}
	for _, who := range order {
		slices.SortFunc(puts[*who], func(a, b grant) int { return compareGrants(&a, &b) })
		d.put(who, puts[*who])
	}
}

// mutable returns a block that may be written to.
func (d *delta) mutable(n uint64) block {
	if d.own[n/64]>>(n%64)&1 == 0 {
		d.own[n/64] |= 1 << (n % 64)
		d.ix.people[n] = slices.Clone(d.ix.people[n])
	}
	return d.ix.people[n]
}

// look adds the assignment to at, under the upper halves of the hashes of the
// identities that may hold it. An assignment that is not in the index is no
// error: it grants nothing before and nothing after.
func (d *delta) look(id *space.ID, at map[uint64][]space.ID) {
	delete(d.ix.refused, *id)
	bucket, fp := d.ix.bucket(id)
	for _, ref := range *d.byID.at(bucket) {
		if ref&^(1<<32-1) == fp {
			at[ref<<32] = append(at[ref<<32], *id)
		}
	}
}

// cut removes the assignments from the identities whose hash has that upper
// half and that hold one of them.
func (d *delta) cut(hash uint64, ids []space.ID) {
	gone := make(map[space.ID]bool, len(ids))
	for _, id := range ids {
		gone[id] = true
	}
	n := blockOf(hash, len(d.ix.people))
	emptied := false
	for i := range d.ix.people[n] {
		c := &d.ix.people[n][i]
		if uint64(c.fp) != hash>>32 || !slices.ContainsFunc(c.held, func(g grant) bool { return gone[g.id] }) {
			continue
		}
		c = &d.mutable(n)[i]
		d.touched[d.ix.identity(c)] = struct{}{}
		left := make([]grant, 0, len(c.held)-1)
		for j := range c.held {
			g := &c.held[j]
			if !gone[g.id] {
				left = append(left, *g)
				continue
			}
			c.sum -= d.ix.hash.grant(g, d.ix.roles.slots[g.role])
			d.unlist(&g.id, hash)
		}
		c.held, c.marks = left, marks(left)
		if len(left) == 0 {
			d.ix.identities--
			emptied = true
		}
	}
	if emptied {
		d.ix.close(d.ix.people[n])
	}
}

// unlist takes an assignment out of byID.
func (d *delta) unlist(id *space.ID, hash uint64) {
	bucket, fp := d.ix.bucket(id)
	list := *d.byID.at(bucket)
	i := slices.Index(list, fp|hash>>32)
	rest := make([]uint64, 0, len(list)-1)
	*d.byID.mutable(bucket) = append(append(rest, list[:i]...), list[i+1:]...)
	d.ix.grants--
}

// close moves the cells of a block to where a search finds them, after one of
// them became free.
func (ix *Index) close(b block) {
	old := slices.Clone(b)
	clear(b)
	for i := range old {
		if len(old[i].held) > 0 {
			who := ix.identity(&old[i])
			*b.free(ix.hash.identity(&who)) = old[i]
		}
	}
}

// put adds grants to an identity. They are valid, in order, and their ids are
// not in the index yet.
func (d *delta) put(who *model.Identity, grants []grant) {
	d.touched[*who] = struct{}{}
	h := d.ix.hash.identity(who)
	b := d.mutable(blockOf(h, len(d.ix.people)))
	c := d.ix.find(who)
	if c == nil {
		if c = b.free(h); b.used() == cells-1 {
			d.regrow()
			d.put(who, grants)
			return
		}
		o0, o1 := halves(&who.Object)
		*c = cell{fp: uint32(h >> 32), o0: o0, o1: o1, realm: d.ix.realms.slot(who)}
		d.ix.identities++
	}
	held := make([]grant, 0, len(c.held)+len(grants))
	rest := c.held
	for i := range grants {
		g := &grants[i]
		pos, _ := slices.BinarySearchFunc(rest, g, func(x grant, y *grant) int { return compareGrants(&x, y) })
		held, rest = append(append(held, rest[:pos]...), *g), rest[pos:]
		c.sum += d.ix.hash.grant(g, d.ix.roles.slots[g.role])
		bucket, fp := d.ix.bucket(&g.id)
		list := *d.byID.at(bucket)
		*d.byID.mutable(bucket) = append(append(make([]uint64, 0, len(list)+1), list...), fp|h>>32)
	}
	held = append(held, rest...)
	c.held = held
	c.marks = marks(c.held)
	d.ix.grants += len(grants)
}

// roles redefines roles and computes anew the fingerprint of every identity
// that holds one of those whose rights changed.
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
	for n := range d.ix.people {
		for i := range d.ix.people[n] {
			if slices.ContainsFunc(d.ix.people[n][i].held, func(g grant) bool { return changed[g.role] }) {
				d.resum(&d.mutable(uint64(n))[i])
			}
		}
	}
}

// resum fingerprints an identity anew after one of its roles changed.
func (d *delta) resum(c *cell) {
	d.touched[d.ix.identity(c)] = struct{}{}
	c.sum = 0
	for i := range c.held {
		c.sum += d.ix.hash.grant(&c.held[i], d.ix.roles.slots[c.held[i].role])
	}
}

// outgrown tells whether the blocks or byID hold so much that searching them
// has become slow.
func (d *delta) outgrown() bool {
	return d.ix.identities > cells*7/8*len(d.ix.people) || d.ix.grants > overfull*perBucket*int(d.byID.len())
}

// regrow rebuilds the blocks and byID in the size that fits what they hold. Its
// cost is spread over the deltas that made it necessary.
func (d *delta) regrow() {
	d.ix.byID = d.byID.array
	list := make([]model.Assignment, 0, d.ix.grants)
	d.ix.each(func(c *cell) {
		for i := range c.held {
			list = append(list, d.ix.assignment(c, &c.held[i]))
		}
	})
	d.ix.place(list)
	d.byID = d.ix.byID.edit()
	d.own = make([]uint64, (len(d.ix.people)+63)/64)
}

func (ix *Index) assignment(c *cell, g *grant) model.Assignment {
	return model.Assignment{ID: g.id, Role: ix.roles.slots[g.role].role.ID, Who: ix.identity(c), Path: g.path.Path()}
}
