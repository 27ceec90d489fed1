package authz

import (
	"cmp"
	"encoding/binary"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Index is the compiled policy of one version.
//
// Layout: identities lie by hash in blocks of cells, each block a small hash
// table of its own; a cell holds the identity's grants in one run, sorted by
// (key of the path, path, id). A second table finds the identity that
// an assignment belongs to by the assignment's id. A delta copies the blocks
// and runs that it touches and shares the rest.
type Index struct {
	version model.Version
	loaded  bool
	hash    hasher

	people     []block
	identities int
	byID       array[[]uint64] // fingerprint of the assignment's id <<32 | high half of the identity's hash
	grants     int

	realms  realms
	roles   roles
	refused map[space.ID]Problem // assignments

	azure azure
}

// Version of the policy.
func (ix *Index) Version() model.Version { return ix.version }

// Len is the number of assignments of the space model in force.
func (ix *Index) Len() int { return ix.grants }

const (
	cells = 32 // in a block: a power of two
	fill  = 14 // of them are used, on average, when compiled
)

// block is an open-addressed hash table of identities. A cell without grants is
// free and ends a search, so there is always at least one. It is a slice
// because reading an element of an array behind a pointer loads the beginning
// of the array too.
type block []cell

// cell is an identity with what it holds; it fills a cache line.
type cell struct {
	o0, o1 uint64 // object id
	held   []grant
	marks  uint64 // of all paths in held: most places can be told from here to be out of scope
	sum    uint64 // fingerprint of held and of what its roles allow
	fp     uint32 // high half of the identity's hash
	realm  uint32
}

// free is the cell where the identity with that hash goes.
func (b block) free(hash uint64) *cell {
	for n := hash >> 1; ; n++ {
		if c := &b[n%cells]; len(c.held) == 0 {
			return c
		}
	}
}

func (b block) used() (n int) {
	for i := range b {
		if len(b[i].held) > 0 {
			n++
		}
	}
	return n
}

// blockOf is the number of the block, by the high half of the hash.
func blockOf(hash uint64, blocks int) uint64 { return hash >> 32 * uint64(blocks) >> 32 }

// grant is an assignment as decisions read it.
type grant struct {
	path space.Line // its bytes are shared by the assignments at one path
	key  space.Key  // of the path
	role uint32     // slot in roles
	id   space.ID
}

// marks is cell.marks of a run of grants.
func marks(held []grant) (all uint64) {
	for i := range held {
		all |= 1 << held[i].key.Mark()
	}
	return all
}

// compareGrants orders the grants of one identity, so that the assignment named
// by a decision does not depend on history.
func compareGrants(a, b *grant) int {
	if c := cmp.Compare(a.key, b.key); c != 0 {
		return c
	}
	if c := a.path.Compare(b.path); c != 0 {
		return c
	}
	return compareIDs(a.id, b.id)
}

// realm is the part of an identity that many have in common: kind, tenant and
// domain.
type realm struct {
	t0, t1 uint64 // tenant
	domain string
	kind   model.IdentityKind
}

func realmOf(i *model.Identity) realm {
	t0, t1 := halves(&i.Tenant)
	return realm{t0, t1, i.Domain, i.Kind}
}

// realms numbers the realms. One without tenant and domain, as of all devices,
// has the number of its IdentityKind and needs no lookup; the others have the
// numbers from firstRealm on.
type realms struct {
	list []realm // number firstRealm and up
	byID map[realm]uint32
}

const firstRealm = 1 << 8 // past every IdentityKind

func (r realm) plain() bool { return r.t0|r.t1 == 0 && r.domain == "" }

func (r *realms) at(n uint32) realm {
	if n < firstRealm {
		return realm{kind: model.IdentityKind(n)}
	}
	return r.list[n-firstRealm]
}

func (ix *Index) identity(c *cell) model.Identity {
	r := ix.realms.at(c.realm)
	return model.Identity{Kind: r.kind, Object: join(c.o0, c.o1), Tenant: join(r.t0, r.t1), Domain: r.domain}
}

func join(a, b uint64) (id space.ID) {
	binary.LittleEndian.PutUint64(id[:8], a)
	binary.LittleEndian.PutUint64(id[8:], b)
	return id
}

// find returns the identity's cell; nil when it holds nothing.
func (ix *Index) find(i *model.Identity) *cell {
	o0, o1 := halves(&i.Object)
	t0, t1 := halves(&i.Tenant)
	h := ix.hash.object(o0, o1, i.Kind)
	if t0|t1 != 0 || i.Kind == model.DomainName { // no other kind has a domain
		return ix.findIn(realm{t0, t1, i.Domain, i.Kind}, o0, o1, ix.hash.tenant(h, t0, t1, i.Domain))
	}
	b := ix.people[blockOf(h, len(ix.people))]
	for n := h >> 1; ; n++ {
		c := &b[n%cells]
		if len(c.held) == 0 {
			return nil
		}
		if c.o0 == o0 && c.o1 == o1 && c.realm == uint32(i.Kind) {
			return c
		}
	}
}

// findIn is find for an identity of a tenant or domain.
func (ix *Index) findIn(r realm, o0, o1, h uint64) *cell {
	b := ix.people[blockOf(h, len(ix.people))]
	for n := h >> 1; ; n++ {
		c := &b[n%cells]
		if len(c.held) == 0 {
			return nil
		}
		if c.o0 == o0 && c.o1 == o1 && ix.realms.at(c.realm) == r {
			return c
		}
	}
}

// held is the identity's run of grants.
func (ix *Index) held(i *model.Identity) []grant {
	if c := ix.find(i); c != nil {
		return c.held
	}
	return nil
}

// each visits all identities.
func (ix *Index) each(visit func(c *cell)) {
	for _, b := range ix.people {
		for n := range b {
			if len(b[n].held) > 0 {
				visit(&b[n])
			}
		}
	}
}

// roleSlot is a role that is defined or assigned. Immutable.
type roleSlot struct {
	rights  condition.Rights // empty unless usable
	sum     uint64
	role    model.Role
	defined bool
	err     error // why a defined role was refused
}

type roles struct {
	slots []*roleSlot
	byID  map[space.ID]uint32
	// allow is the rights of all slots, transposed: for each Probe, the set of
	// slots that allow it, in wide words. The sets that are asked for again and
	// again then share cache lines.
	allow  []uint64
	wide   int
	usable slotSet
}

// allowing is the set of slots that allow an operation.
func (r *roles) allowing(op condition.Probe) slotSet {
	from := int(op) * r.wide
	return r.allow[from : from+r.wide]
}

type slotSet []uint64

func (s slotSet) has(slot uint32) bool { return s[slot/64]>>(slot%64)&1 != 0 }

// turn computes allow from the slots. It is called once after the last change
// to them.
func (r *roles) turn() {
	r.wide = (len(r.slots) + 63) / 64
	r.allow = make([]uint64, condition.Probes*r.wide)
	r.usable = make(slotSet, r.wide)
	for n, slot := range r.slots {
		if slot.usable() {
			r.usable[n/64] |= 1 << (n % 64)
		}
		slot.rights.Each(func(p condition.Probe) {
			r.allow[int(p)*r.wide+n/64] |= 1 << (n % 64)
		})
	}
}
