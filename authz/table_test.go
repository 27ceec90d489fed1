package authz

import (
	"encoding/binary"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// TestFullBlock: all identities that are added fall into the same block of the hash table,
// even while it has few blocks. The table must grow until they fit, and then stop growing.
func TestFullBlock(t *testing.T) {
	for _, crowd := range []int{cells - 2, cells - 1, cells, 3 * cells} {
		role := space.MustID(model.DeviceInstallerRole)
		ix, _ := Compile(model.Snapshot{Version: model.Version{Epoch: 1, Number: 1}})
		c := model.ChangeSet{From: ix.Version(), To: ix.Version()}
		for n := uint64(1); len(c.PutAssignments) < crowd; n++ {
			a := model.Assignment{Role: role, Who: model.Identity{Kind: model.DeviceID}, Path: space.Root}
			binary.BigEndian.PutUint64(a.Who.Object[:], n)
			binary.BigEndian.PutUint64(a.ID[:], n)
			if blockOf(ix.hash.identity(&a.Who), 16) == 0 {
				c.PutAssignments = append(c.PutAssignments, a)
			}
		}
		ix, _, err := ix.Apply(c)
		if err != nil {
			t.Fatal(err)
		}
		for i := range c.PutAssignments {
			if held := ix.held(&c.PutAssignments[i].Who); len(held) != 1 || held[0].id != c.PutAssignments[i].ID {
				t.Fatalf("%d in one block: %v holds %v", crowd, c.PutAssignments[i].Who, held)
			}
		}
		for _, b := range ix.people {
			if b.used() == cells {
				t.Fatalf("%d in one block: no free cell ends a search", crowd)
			}
		}
	}
}

// TestHashSpreads: ids that are not random are spread over the blocks as evenly as random ones.
func TestHashSpreads(t *testing.T) {
	patterns := map[string]func(id *space.ID, n uint64){
		"counted at the end":    func(id *space.ID, n uint64) { binary.BigEndian.PutUint64(id[8:], n) },
		"counted at the start":  func(id *space.ID, n uint64) { binary.BigEndian.PutUint32(id[:], uint32(n)) },
		"counted from the left": func(id *space.ID, n uint64) { binary.LittleEndian.PutUint64(id[8:], n) },
		"counted in the middle": func(id *space.ID, n uint64) { binary.LittleEndian.PutUint32(id[4:], uint32(n)) },
	}
	const ids, blocks = 20_000, 20_000 / fill
	for name, set := range patterns {
		for range 200 {
			h := newHasher()
			var in [blocks]int
			most := 0
			for n := range uint64(ids) {
				who := model.Identity{Kind: model.DeviceID}
				set(&who.Object, n)
				b := blockOf(h.identity(&who), blocks)
				in[b]++
				most = max(most, in[b])
			}
			if most > 60 { // at random: once in 10^15 tables
				t.Fatalf("%s: %d of %d ids are in one of %d blocks", name, most, ids, blocks)
			}
		}
	}
}
