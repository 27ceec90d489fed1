package gateway

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// A cloud where something changes elsewhere all the time confirms what is held
// here as much as one where nothing does.
func version(n uint64) model.Version { return model.Version{Epoch: 7, Number: n} }

func TestChangesElsewhereConfirmTheCache(t *testing.T) {
	put := wire.Delta{From: version(1), To: version(2)}
	put.Policy.PutAssignments = []model.Assignment{{}}
	for _, c := range []struct {
		delta wire.Delta
		want  bool
	}{
		{wire.Delta{From: version(1), To: version(1)}, true},
		{wire.Delta{From: version(1), To: version(9)}, true},
		{wire.Delta{From: version(2), To: version(9)}, false},
		{wire.Delta{From: version(1), To: version(0)}, false},
		{wire.Delta{From: version(1), To: model.Version{Epoch: 8, Number: 9}}, false},
		{put, false},
	} {
		if got := confirms(&c.delta, version(1)); got != c.want {
			t.Errorf("%+v: %v", c.delta, got)
		}
	}
}
