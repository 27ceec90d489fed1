package authz_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// TestReadersAndOneWriter: while deltas take a right away and give it back,
// every reader sees one snapshot or the other, never a mixture: two
// assignments always come and go together.
func TestReadersAndOneWriter(t *testing.T) {
	a, b := space.Root.Join(space.NewID()), space.Root.Join(space.NewID())
	who := device()
	first, second := assign(who, installs, a), assign(who, installs, b)
	var current atomic.Pointer[authz.Index]
	current.Store(compile(t, first, second))
	s := subject(who)
	stop := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				ix := current.Load()
				held := ix.Decide(s, readSensor, a).Allowed
				if held != ix.Decide(s, readSensor, b).Allowed || held != (ix.Version().Number%2 == 1) {
					t.Error("a mixture of two versions")
					return
				}
			}
		})
	}
	for n := uint64(1); n < 2000; n++ {
		c := model.ChangeSet{From: model.Version{Epoch: 1, Number: n}, To: model.Version{Epoch: 1, Number: n + 1}}
		if n%2 == 1 {
			c.RemoveAssigns = []space.ID{first.ID, second.ID}
		} else {
			c.PutAssignments = []model.Assignment{first, second}
		}
		next, keys, err := current.Load().Apply(c)
		if err != nil || len(keys) != 1 {
			t.Fatal(err, keys)
		}
		current.Store(next)
	}
	close(stop)
	readers.Wait()
}
