package replica

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
)

// A cloud in which objects outside the site change all the time confirms the policy as well as
// one in which nothing changes.
func versionOf(n uint64) model.Version { return model.Version{Epoch: 7, Number: n} }

func TestChangesElsewhereConfirmTheCache(t *testing.T) {
	put := Delta{From: versionOf(1), To: versionOf(2)}
	put.Policy.PutAssignments = []model.Assignment{{}}
	for _, c := range []struct {
		delta Delta
		want  bool
	}{
		{Delta{From: versionOf(1), To: versionOf(1)}, true},
		{Delta{From: versionOf(1), To: versionOf(9)}, true},
		{Delta{From: versionOf(2), To: versionOf(9)}, false},
		{Delta{From: versionOf(1), To: versionOf(0)}, false},
		{Delta{From: versionOf(1), To: model.Version{Epoch: 8, Number: 9}}, false},
		{put, false},
	} {
		if got := confirms(&c.delta, versionOf(1)); got != c.want {
			t.Errorf("%+v: %v", c.delta, got)
		}
	}
}
