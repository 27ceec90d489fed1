package replica

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
)

// astray answers one question for changes with a change set that leads to a version of the test's choice.
type astray struct {
	*cloud
	to   func(since model.Version) model.Version
	sent bool
}

func (a *astray) Changes(ctx context.Context, since model.Version, wait time.Duration) (Delta, error) {
	if a.sent {
		return a.cloud.Changes(ctx, since, wait)
	}
	a.sent = true
	d := Delta{From: since, To: a.to(since)}
	d.Policy = model.ChangeSet{From: d.From, To: d.To, PutAssignments: []model.Assignment{{ID: num(7)}}}
	return d, nil
}

// A change set that leads back, or into another epoch, is not applied: everything is read instead.
func TestAChangeSetThatLeadsAstray(t *testing.T) {
	for name, to := range map[string]func(model.Version) model.Version{
		"back":          func(v model.Version) model.Version { return model.Version{Epoch: v.Epoch, Number: v.Number - 1} },
		"another epoch": func(v model.Version) model.Version { return model.Version{Epoch: v.Epoch + 1, Number: v.Number + 1} },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(g *rig) {
				time.Sleep(10 * time.Second)
				synctest.Wait()
				if seen := g.sink.seen(); strings.Contains(seen, "apply") || strings.Count(seen, "replace") != 2 {
					t.Errorf("the sink was told %q, want two full reads and no change set", seen)
				}
			}, func(o *Options) { o.Source = &astray{cloud: o.Source.(*cloud), to: to} })
		})
	}
}
