package authz

import (
	"cmp"
	"fmt"
	"maps"
	"math/bits"
	"slices"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

const (
	perBucket = 32 // assignments in a bucket of byID, at most, on average, when compiled
	overfull  = 4  // at that many times perBucket a delta rebuilds blocks and byID
)

// Compile builds the index of a complete snapshot. What cannot be used (a role
// whose condition is not understood, a malformed assignment, an id that is
// used twice) grants nothing and is returned as a Problem. The nine system
// roles and the built-in Azure roles are defined without being in the
// snapshot; a definition there with the same id wins. The snapshot's strings
// are kept, its slices are not.
func Compile(s model.Snapshot) (*Index, []Problem) {
	ix := compile(newHasher(), s)
	return ix, ix.Problems()
}

func compile(h hasher, s model.Snapshot) *Index {
	ix := &Index{version: s.Version, loaded: true, hash: h, refused: map[space.ID]Problem{}}
	ix.realms.byID = map[realm]uint32{}
	ix.defineRoles(s.Roles)
	ix.place(s.Assignments)
	ix.roles.turn()
	ix.azure = compileAzure(&ix.hash, &s)
	return ix
}

// Empty is the index before anything has been loaded: it refuses everything (NoPolicy).
func Empty() *Index {
	ix := compile(newHasher(), model.Snapshot{})
	ix.loaded = false
	return ix
}

// incoming is a valid assignment that is about to be placed into the index.
type incoming struct {
	hash   uint64 // of the identity
	o0, o1 uint64
	realm  uint32
	grant  grant
}

// place builds the blocks and byID from the assignments.
func (ix *Index) place(list []model.Assignment) {
	in := make([]incoming, 0, len(list))
	twice := duplicates(&ix.hash, list)
	paths := make(map[space.Line]space.Line) // one value for all that are equal
	for n := range list {
		a := &list[n]
		if err := admit(a, twice); err != nil {
			ix.refused[a.ID] = refusedAssignment(a, err)
			continue
		}
		line := a.Path.Line()
		if known, ok := paths[line]; ok {
			line = known
		} else {
			paths[line] = line
		}
		o0, o1 := halves(&a.Who.Object)
		in = append(in, incoming{
			hash: ix.hash.identity(&a.Who), o0: o0, o1: o1, realm: ix.realms.slot(&a.Who),
			grant: grant{id: a.ID, path: line, key: a.Path.Key(a.Path.Depth()), role: ix.roles.slot(a.Role)},
		})
	}
	ix.grants = len(in)
	order := make([]incoming, len(in))
	radix(order, func(i int) *incoming { return &in[i] }, func(r *incoming) uint64 { return r.hash })
	ix.fill(order)
	ix.indexIDs()
}

// admit returns why an assignment cannot be placed into the index: it is
// malformed, or its id is used twice.
func admit(a *model.Assignment, twice map[space.ID]bool) error {
	if err := a.Validate(); err != nil {
		return err
	}
	if twice[a.ID] {
		return fmt.Errorf("%w assignment: its id is used twice", model.ErrInvalid)
	}
	return nil
}

func refusedAssignment(a *model.Assignment, err error) Problem {
	return Problem{Kind: RefusedAssignment, ID: a.ID, Detail: err.Error()}
}

// duplicates finds the ids that occur more than once. Ids that agree in 64
// bits of a keyed hash are then compared in full.
func duplicates(h *hasher, list []model.Assignment) map[space.ID]bool {
	hashes := make([]uint64, len(list))
	for i := range list {
		hashes[i] = h.id(&list[i].ID)
	}
	sorted := make([]uint64, len(list))
	radix(sorted, func(i int) *uint64 { return &hashes[i] }, func(h *uint64) uint64 { return *h })
	var suspects map[uint64]bool
	for i := 1; i < len(sorted); i++ {
		if sorted[i] == sorted[i-1] {
			if suspects == nil {
				suspects = map[uint64]bool{}
			}
			suspects[sorted[i]] = true
		}
	}
	if suspects == nil {
		return nil
	}
	seen := map[space.ID]bool{} // true: more than once
	for i := range list {
		if suspects[hashes[i]] {
			_, again := seen[list[i].ID]
			seen[list[i].ID] = again
		}
	}
	return seen
}

// radix writes the values of get to out in the order of their keys. It first
// spreads them over buckets by the leading bits of the key, and then sorts each
// bucket, which holds a handful.
func radix[T any](out []T, get func(int) *T, key func(*T) uint64) {
	if len(out) == 0 {
		return
	}
	shift := 64 - max(bits.Len(uint(len(out)/8)), 1)
	starts := make([]uint32, 1<<(64-shift)+1)
	for i := range out {
		starts[key(get(i))>>shift+1]++
	}
	for b := 1; b < len(starts); b++ {
		starts[b] += starts[b-1]
	}
	next := slices.Clone(starts)
	for i := range out {
		b := key(get(i)) >> shift
		out[next[b]] = *get(i)
		next[b]++
	}
	for b := range len(starts) - 1 {
		insertionSort(out[starts[b]:starts[b+1]], key)
	}
}

func insertionSort[T any](s []T, key func(*T) uint64) {
	if len(s) > 64 {
		slices.SortFunc(s, func(x, y T) int { return cmp.Compare(key(&x), key(&y)) })
		return
	}
	for i := 1; i < len(s); i++ {
		for j := i; j > 0 && key(&s[j]) < key(&s[j-1]); j-- {
			s[j], s[j-1] = s[j-1], s[j]
		}
	}
}

func powerOfTwo(n, least int) int { return max(least, 1<<bits.Len(uint(max(n-1, 0)))) }

// fill builds the cells from the assignments, which are in the order of hash.
func (ix *Index) fill(in []incoming) {
	// Two identities with the same hash are next to impossible, and easy to
	// separate: order equal hashes by identity, and the assignments of each
	// identity as grants are ordered.
	runs := 0
	for from := 0; from < len(in); {
		to := from + 1
		for to < len(in) && in[to].hash == in[from].hash {
			to++
		}
		slices.SortFunc(in[from:to], compareIncoming)
		for i := from; i < to; i++ {
			if i == from || !in[i].sameWho(&in[i-1]) {
				runs++
			}
		}
		from = to
	}
	ix.identities = runs
	for blocks := runs/fill + 1; !ix.spread(in, blocks); {
		blocks += blocks/8 + 1 // one block of them was too full
	}
}

// spread distributes the cells over that many blocks; false if a block would
// overflow.
func (ix *Index) spread(in []incoming, blocks int) bool {
	ix.people = make([]block, blocks)
	for from, n := 0, uint64(0); n < uint64(blocks); n++ {
		to := from
		for to < len(in) && blockOf(in[to].hash, blocks) == n {
			to++
		}
		ix.people[n] = make(block, cells)
		if !ix.people[n].fill(ix, in[from:to]) {
			return false
		}
		from = to
	}
	return true
}

// fill fills an empty block. The grants of all its cells lie side by side in
// one array.
func (b block) fill(ix *Index, in []incoming) bool {
	run := make([]grant, len(in))
	identities := 0
	for from := 0; from < len(in); {
		to := from
		c := cell{fp: uint32(in[from].hash >> 32), o0: in[from].o0, o1: in[from].o1, realm: in[from].realm}
		for ; to < len(in) && in[to].sameWho(&in[from]); to++ {
			run[to] = in[to].grant
			c.sum += ix.hash.grant(&run[to], ix.roles.slots[run[to].role])
		}
		c.held = run[from:to:to]
		c.marks = marks(c.held)
		if identities++; identities > cells-2 {
			return false // one free cell ends a search, a second one is for the next identity
		}
		*b.free(in[from].hash) = c
		from = to
	}
	return true
}

func (r *incoming) sameWho(o *incoming) bool {
	return r.hash == o.hash && r.o0 == o.o0 && r.o1 == o.o1 && r.realm == o.realm
}

func compareIncoming(a, b incoming) int {
	if a.sameWho(&b) {
		return compareGrants(&a.grant, &b.grant)
	}
	return cmp.Or(cmp.Compare(a.o0, b.o0), cmp.Compare(a.o1, b.o1), cmp.Compare(a.realm, b.realm))
}

// indexIDs builds byID from the cells.
func (ix *Index) indexIDs() {
	buckets := powerOfTwo(ix.grants/perBucket, blockSize)
	ix.byID = newArray[[]uint64](buckets)
	size := make([]uint32, buckets)
	ix.each(func(c *cell) {
		for i := range c.held {
			b, _ := ix.bucket(&c.held[i].id)
			size[b]++
		}
	})
	slab := make([]uint64, ix.grants)
	for b, n := range size {
		*ix.byID.at(uint32(b)), slab = slab[:0:n], slab[n:]
	}
	ix.each(func(c *cell) {
		for i := range c.held {
			b, fp := ix.bucket(&c.held[i].id)
			list := ix.byID.at(b)
			*list = append(*list, fp|uint64(c.fp))
		}
	})
}

// bucket says where the assignment id is in byID, and by which
// fingerprint (in the upper half).
func (ix *Index) bucket(id *space.ID) (uint32, uint64) {
	h := ix.hash.id(id)
	return uint32(h>>32) & (ix.byID.len() - 1), h << 32
}

// slot returns the number of the identity's realm, adding it if it is new.
// The realms must be owned by the caller.
func (r *realms) slot(who *model.Identity) uint32 {
	k := realmOf(who)
	if k.plain() {
		return uint32(k.kind)
	}
	n, ok := r.byID[k]
	if !ok {
		n = firstRealm + uint32(len(r.list))
		r.byID[k] = n
		r.list = append(r.list, k)
	}
	return n
}

func (r *realms) clone() realms { return realms{slices.Clone(r.list), maps.Clone(r.byID)} }
