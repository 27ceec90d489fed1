package authz

import (
	"math/bits"
	"sort"

	"github.com/gatehouse/gatehouse/authz/condition"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// few is the number of grants up to which a scan is faster than a binary search.
const few = 16

// Decide tells whether the subject may do op at the place, by the space model.
// It allocates nothing.
func (ix *Index) Decide(s *model.Subject, op model.Operation, at space.Path) Decision {
	probe, ok := condition.ProbeOf(op.Resolved())
	if !ix.loaded || !ok || at.IsZero() {
		if ix.loaded {
			return Decision{Reason: MalformedQuestion, index: ix}
		}
		return Decision{index: ix}
	}
	var lacks, elsewhere *grant // what came closest
	for i := range s.Identities {
		c := ix.find(&s.Identities[i])
		if c == nil {
			continue
		}
		if elsewhere == nil {
			elsewhere = &c.held[0]
		}
		may := c.marks & at.Marks()
		if may == 0 {
			continue
		}
		found, lack := c.covering(may, ix.roles.allowing(probe), at)
		if found != nil {
			return Decision{Allowed: true, Reason: Granted, index: ix, by: found}
		}
		if lack != nil && (lacks == nil || len(lack.path) > len(lacks.path)) {
			lacks = lack
		}
	}
	switch { // refused: the nearest miss
	case lacks == nil && elsewhere == nil:
		return Decision{Reason: NoAssignment, index: ix}
	case lacks == nil:
		return Decision{Reason: OutsideScope, index: ix, by: elsewhere}
	case !ix.roles.usable.has(lacks.role):
		return Decision{Reason: RoleUnusable, index: ix, by: lacks}
	}
	return Decision{Reason: RoleLacksOperation, index: ix, by: lacks}
}

// covering searches the grants of a cell. It returns the first grant, in order,
// whose path covers the place and whose role allows the operation; failing
// that, it returns the deepest grant whose path covers the place but whose role
// does not, which is the nearest miss. may are the marks that the cell and the
// place have in common.
func (c *cell) covering(may uint64, allowing slotSet, at space.Path) (found, lack *grant) {
	held := c.held
	if len(held) > few {
		return coveringOfMany(held, may, allowing, at)
	}
	for ; may != 0; may &= may - 1 {
		mark := bits.TrailingZeros64(may)
		// Each lower mark of the cell belongs to at least one grant before i.
		for i := bits.OnesCount64(c.marks & (1<<mark - 1)); i < len(held); i++ {
			g := &held[i]
			if g.key.Mark() != mark {
				if g.key.Mark() > mark {
					break
				}
				continue
			}
			if !g.key.MayBe(at) || !g.path.Covers(at.Line()) {
				continue
			}
			if allowing.has(g.role) {
				return g, nil
			}
			if lack == nil || len(g.path) > len(lack.path) {
				lack = g
			}
		}
	}
	return nil, lack
}

// coveringOfMany is covering for a long run of grants, of which the marks alone
// would leave too many to look at: it searches for the place and for each of
// its ancestors.
func coveringOfMany(held []grant, may uint64, allowing slotSet, at space.Path) (found, lack *grant) {
	for d := 0; d <= at.Depth(); d++ {
		key := at.Key(d)
		if may>>key.Mark()&1 == 0 {
			continue
		}
		first := sort.Search(len(held), func(i int) bool { return held[i].key >= key })
		for i := first; i < len(held) && held[i].key == key; i++ {
			g := &held[i]
			if !g.path.Covers(at.Line()) {
				continue
			}
			if allowing.has(g.role) {
				return g, nil
			}
			lack = g // paths grow longer from hit to hit, so the last is the deepest
		}
	}
	return nil, lack
}

func (r *roleSlot) usable() bool { return r.defined && r.err == nil }
