package authz

import (
	"cmp"
	"encoding/binary"
	"strings"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Index is the compiled policy of one version.
//
// Layout: identities lie by hash in blocks of cells, each block a small hash
// table of its own; a cell holds the identity's grants in one run, sorted by
// (depth, end of the path, path, id). A second table finds the identity that
// an assignment belongs to by the assignment's id. A delta copies the blocks
// and runs that it touches and shares the rest.
type Index struct {
	version model.Version
	loaded  bool
	hash    hasher

	people     []*block
	identities int
	byID       table[[]uint64] // fingerprint of the assignment's id <<32 | high half of the identity's hash
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
	cells = 64 // in a block: a power of two
	fill  = 36 // of them are used, on average, when compiled
)

// block is an open-addressed hash table of identities. A cell without grants
// is free and ends a search.
type block [cells]cell

// cell is an identity with what it holds; it fills a cache line.
type cell struct {
	o0, o1 uint64 // object id
	held   []grant
	keys   uint64 // summary of held: most places can be told from here to be out of scope
	sum    uint64 // fingerprint of held and of what its roles allow
	fp     uint32 // high half of the identity's hash
	realm  uint32
}

// blockOf is the number of the block, by the high half of the hash.
func blockOf(hash uint64, blocks int) uint64 { return hash >> 32 * uint64(blocks) >> 32 }

// grant is an assignment as decisions read it.
type grant struct {
	id   space.ID
	path space.Path // its text is shared by the assignments at one path
	key  uint32     // depth and end of the path: see pathKey
	role uint32     // slot in roles
}

const segment = 37 // bytes of "/" and a GUID in a canonical path

// pathKey is depth <<24 | 24 bits of the last eight characters at that depth:
// enough to pass over nearly every grant that does not cover a path without
// looking at its path.
func pathKey(path string, depth int) uint32 {
	if depth == 0 {
		return 0
	}
	x := binary.LittleEndian.Uint64([]byte(path[depth*segment-8 : depth*segment])) // no copy: it is not written to
	return uint32(depth)<<24 | uint32(x*0x9E3779B97F4A7C15>>40)
}

// Of cell.keys the lower bits tell at which depths the identity holds grants,
// the upper ones which keys may be among them.
const depthBits = space.MaxDepth + 1

// keyBit is one of the upper bits of cell.keys.
func keyBit(key uint32) uint64 {
	return 1 << (depthBits + uint64(key&(1<<24-1))*(64-depthBits)>>24)
}

// summary is cell.keys of a run of grants.
func summary(held []grant) (keys uint64) {
	for i := range held {
		keys |= keyBit(held[i].key) | 1<<held[i].depth()
	}
	return keys
}

// compareGrants orders the grants of one identity: shallow paths first, so
// that the assignment named by a decision does not depend on history.
func compareGrants(a, b *grant) int {
	if c := cmp.Compare(a.key, b.key); c != 0 {
		return c
	}
	if c := strings.Compare(a.path.String(), b.path.String()); c != 0 {
		return c
	}
	return compareIDs(a.id, b.id)
}

// realm is what many identities have in common.
type realm struct {
	t0, t1 uint64 // tenant
	domain string
	kind   model.IdentityKind
}

func realmOf(i *model.Identity) realm {
	t0, t1 := halves(&i.Tenant)
	return realm{t0, t1, i.Domain, i.Kind}
}

type realms struct {
	list []realm
	byID map[realm]uint32
}

func (ix *Index) identity(c *cell) model.Identity {
	r := &ix.realms.list[c.realm]
	return model.Identity{Kind: r.kind, Object: join(c.o0, c.o1), Tenant: join(r.t0, r.t1), Domain: r.domain}
}

func join(a, b uint64) (id space.ID) {
	binary.LittleEndian.PutUint64(id[:8], a)
	binary.LittleEndian.PutUint64(id[8:], b)
	return id
}

// find returns the identity's cell; nil when it holds nothing. A block has a
// free cell, which ends every search.
func (ix *Index) find(i *model.Identity) *cell {
	o0, o1 := halves(&i.Object)
	t0, t1 := halves(&i.Tenant)
	h := ix.hash.object(o0, o1, i.Kind)
	plain := t0|t1 == 0 && i.Domain == ""
	if !plain {
		h = ix.hash.tenant(h, t0, t1, i.Domain)
	}
	b := ix.people[blockOf(h, len(ix.people))]
	for n := h >> 1; ; n++ {
		c := &b[n%cells]
		if len(c.held) == 0 {
			return nil
		}
		if c.o0 != o0 || c.o1 != o1 {
			continue
		}
		r := &ix.realms.list[c.realm]
		if r.kind == i.Kind && r.t0 == t0 && r.t1 == t1 && len(r.domain) == len(i.Domain) && (plain || r.domain == i.Domain) {
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
}
