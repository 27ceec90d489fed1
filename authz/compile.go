package authz

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"math/bits"
	"slices"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

const (
	identitiesPerShard = 8  // at most, on average, when compiled
	grantsPerBucket    = 32 // of the table by id
	overfull           = 4  // times the above before a delta rebuilds the tables
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
	ix.azure = compileAzure(&ix.hash, &s)
	return ix
}

// empty is the index before anything has been loaded.
func empty() *Index {
	ix := compile(newHasher(), model.Snapshot{})
	ix.loaded = false
	return ix
}

// incoming is a valid assignment on its way into the tables.
type incoming struct {
	hash  uint64 // of the identity
	n     uint32 // in the list of assignments
	realm uint32
	grant grant
}

// place fills the tables with the assignments.
func (ix *Index) place(list []model.Assignment) {
	in := make([]incoming, 0, len(list))
	twice := duplicates(&ix.hash, list)
	places := make(map[string]*place)
	var slab []place
	for n := range list {
		a := &list[n]
		if err := ix.admit(a, twice); err != nil {
			ix.refused[a.ID] = refusedAssignment(a, err)
			continue
		}
		p := places[a.Path.String()]
		if p == nil {
			if len(slab) == cap(slab) {
				slab = make([]place, 0, 256)
			}
			slab = append(slab, place{a.Path, ix.hash.text(a.Path.String())})
			p = &slab[len(slab)-1]
			places[a.Path.String()] = p
		}
		in = append(in, incoming{
			hash: ix.hash.identity(&a.Who), n: uint32(n), realm: ix.realms.slot(&a.Who),
			grant: grant{id: a.ID, at: p, key: pathKey(a.Path.String(), a.Path.Depth()), role: ix.roles.slot(a.Role)},
		})
	}
	ix.grants = len(in)
	shards := powerOfTwo(distinct(in)/identitiesPerShard, blockSize)
	ix.people = newTable[shard](shards)
	ix.shift = uint8(64 - bits.TrailingZeros(uint(shards)))
	ix.fill(in, list)
	ix.indexIDs()
}

// admit tells whether an assignment can be taken into the tables.
func (ix *Index) admit(a *model.Assignment, twice map[space.ID]bool) error {
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
	type seen struct {
		hash uint64
		n    uint32
	}
	all := make([]seen, len(list))
	radix(all, func(i int) seen { return seen{h.id(&list[i].ID), uint32(i)} }, func(s *seen) uint64 { return s.hash })
	var twice map[space.ID]bool
	for i := 1; i < len(all); i++ {
		// Within one radix bucket order is by hash, so equal ones are neighbours.
		if all[i].hash == all[i-1].hash && list[all[i].n].ID == list[all[i-1].n].ID {
			if twice == nil {
				twice = map[space.ID]bool{}
			}
			twice[list[all[i].n].ID] = true
		}
	}
	return twice
}

// radix fills out with the values of get in the order of their key: spread by
// the leading bits, then sorted within the bucket.
func radix[T any](out []T, get func(int) T, key func(*T) uint64) {
	if len(out) == 0 {
		return
	}
	shift := 64 - max(bits.Len(uint(len(out)/8)), 1)
	starts := make([]uint32, 1<<(64-shift)+1)
	for i := range out {
		v := get(i)
		starts[key(&v)>>shift+1]++
	}
	for b := 1; b < len(starts); b++ {
		starts[b] += starts[b-1]
	}
	next := slices.Clone(starts)
	for i := range out {
		v := get(i)
		b := key(&v) >> shift
		out[next[b]] = v
		next[b]++
	}
	for b := range len(starts) - 1 {
		slices.SortFunc(out[starts[b]:starts[b+1]], func(x, y T) int { return cmp.Compare(key(&x), key(&y)) })
	}
}

// distinct estimates the number of identities by linear counting.
func distinct(in []incoming) int {
	size := powerOfTwo(len(in), 64)
	shift := 64 - bits.TrailingZeros(uint(size))
	seen := make([]uint64, size/64)
	for i := range in {
		b := in[i].hash >> shift
		seen[b/64] |= 1 << (b % 64)
	}
	used := 0
	for _, w := range seen {
		used += bits.OnesCount64(w)
	}
	if used == size {
		return len(in)
	}
	return int(-float64(size) * math.Log(1-float64(used)/float64(size)))
}

func powerOfTwo(n, least int) int { return max(least, 1<<bits.Len(uint(max(n-1, 0)))) }

// fill sorts the assignments into the shards.
func (ix *Index) fill(in []incoming, list []model.Assignment) {
	order := make([]incoming, len(in))
	radix(order, func(i int) incoming { return in[i] }, func(r *incoming) uint64 { return r.hash })
	for from := 0; from < len(order); {
		n := uint32(order[from].hash >> ix.shift)
		to := from + 1
		for to < len(order) && uint32(order[to].hash>>ix.shift) == n {
			to++
		}
		ix.identities += ix.people.at(n).fill(ix, order[from:to], list)
		from = to
	}
}

// fill builds a shard from its assignments and returns how many identities it has.
func (sh *shard) fill(ix *Index, in []incoming, list []model.Assignment) int {
	slices.SortFunc(in, func(a, b incoming) int {
		if c := cmp.Or(cmp.Compare(a.hash, b.hash), cmp.Compare(a.realm, b.realm)); c != 0 {
			return c
		}
		return cmp.Or(compareIDs(list[a.n].Who.Object, list[b.n].Who.Object), compareGrants(&a.grant, &b.grant))
	})
	same := func(a, b *incoming) bool {
		return a.hash == b.hash && a.realm == b.realm && list[a.n].Who.Object == list[b.n].Who.Object
	}
	identities := 0
	for i := range in {
		if i == 0 || !same(&in[i], &in[i-1]) {
			identities++
		}
	}
	sh.entries = make([]entry, 0, identities)
	sh.grants = make([]grant, len(in))
	for i := range in {
		if i == 0 || !same(&in[i], &in[i-1]) {
			sh.entries = append(sh.entries, entry{
				object: list[in[i].n].Who.Object, fp: uint32(in[i].hash), realm: in[i].realm, start: uint32(i),
			})
		}
		e := &sh.entries[len(sh.entries)-1]
		sh.grants[i] = in[i].grant
		e.sum += ix.hash.grant(&sh.grants[i], ix.roles.slots[sh.grants[i].role])
		e.n++
	}
	return identities
}

// indexIDs builds the table by id from the shards.
func (ix *Index) indexIDs() {
	buckets := powerOfTwo(ix.grants/grantsPerBucket, blockSize)
	ix.byID = newTable[[]uint64](buckets)
	size := make([]uint32, buckets)
	ix.eachGrant(func(_ uint32, _ *entry, g *grant) {
		b, _ := ix.bucket(&g.id)
		size[b]++
	})
	ix.eachGrant(func(n uint32, _ *entry, g *grant) {
		b, fp := ix.bucket(&g.id)
		list := ix.byID.at(b)
		if *list == nil {
			*list = make([]uint64, 0, size[b])
		}
		*list = append(*list, fp|uint64(n))
	})
}

// bucket says where the assignment id is in the table by id, and by which
// fingerprint (in the upper half).
func (ix *Index) bucket(id *space.ID) (uint32, uint64) {
	h := ix.hash.id(id)
	return uint32(h>>32) & (ix.byID.len() - 1), h << 32
}

// eachGrant visits all grants, with the number of their shard.
func (ix *Index) eachGrant(visit func(n uint32, e *entry, g *grant)) {
	for n := range ix.people.len() {
		sh := ix.people.at(n)
		for i := range sh.entries {
			e := &sh.entries[i]
			for j := range sh.of(e) {
				visit(n, e, &sh.grants[e.start+uint32(j)])
			}
		}
	}
}

// slot returns the number of the identity's realm, adding it if it is new.
// The realms must be owned by the caller.
func (r *realms) slot(i *model.Identity) uint32 {
	k := realm{i.Kind, i.Tenant, i.Domain}
	n, ok := r.byID[k]
	if !ok {
		n = uint32(len(r.list))
		r.byID[k] = n
		r.list = append(r.list, k)
	}
	return n
}

func (r *realms) clone() realms { return realms{slices.Clone(r.list), maps.Clone(r.byID)} }
