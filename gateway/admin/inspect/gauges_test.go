package inspect_test

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/metrics"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// Each gauge changes when the thing that it measures changes, and with nothing else.
func TestGaugesMoveWithTheirSubjects(t *testing.T) {
	compile := func(h *fixture, change func(*model.Snapshot)) {
		p := *h.stored
		p.Assignments = slices.Clone(p.Assignments)
		change(&p)
		h.index, _ = authz.Compile(p)
	}
	azureRole := model.AzureRole{ID: num(70), Name: "Reader", DataActions: []string{"Microsoft.Devices/*"}}
	for _, c := range []struct {
		subject string
		change  func(*fixture)
		want    []string
	}{
		{"an assignment of the space model", func(h *fixture) {
			compile(h, func(p *model.Snapshot) {
				more := p.Assignments[0]
				more.ID, more.Path = num(112), space.Root
				p.Assignments = append(p.Assignments, more)
			})
		}, []string{"Assignments"}},
		{"an Azure assignment, with its role", func(h *fixture) {
			compile(h, func(p *model.Snapshot) {
				p.AzureRoles = []model.AzureRole{azureRole}
				p.AzureAssignments = []model.AzureAssignment{{ID: num(111), Role: azureRole.ID, Scope: "/subscriptions/s",
					Who: model.AzurePrincipal{ID: num(40)}}}
			})
		}, []string{"Assignments", "Roles"}},
		{"the version", func(h *fixture) {
			compile(h, func(p *model.Snapshot) { p.Version = model.Version{Epoch: 2, Number: 9} })
		}, []string{"CacheEpoch", "CacheNumber"}},
		{"the registry", func(h *fixture) { h.topology, _ = device.NewTopology(device.Data{}, device.Options{}) }, []string{"Devices"}},
		{"the stage", func(h *fixture) { h.stage = offline.Stale }, []string{"Stage"}},
		{"the link", func(h *fixture) { h.link = "down" }, []string{"UpstreamConnected"}},
		{"a warning", func(h *fixture) { h.report.Warnings = []health.Warning{{Severity: health.Failing}} }, []string{"Raised", "Warnings"}},
		{"a notice", func(h *fixture) { h.report.Warnings = []health.Warning{{Severity: health.Notice}} }, []string{"Raised"}},
		{"sessions", func(h *fixture) { h.broker.stats.Sessions++ }, []string{"Sessions"}},
		{"connections", func(h *fixture) { h.broker.stats.Connections++ }, []string{"SessionsConnected"}},
		{"take-overs", func(h *fixture) { h.broker.stats.TakeOvers++ }, []string{"TakeOvers"}},
		{"contests", func(h *fixture) { h.broker.stats.Contested++ }, []string{"SessionsContested"}},
		{"newcomers that wait", func(h *fixture) { h.broker.stats.Waiting++ }, []string{"SessionsAwaited"}},
		{"subscriptions", func(h *fixture) { h.broker.stats.Subscriptions++ }, []string{"Subscriptions"}},
		{"retained", func(h *fixture) { h.broker.stats.Retained++ }, []string{"Retained"}},
		{"queued", func(h *fixture) { h.broker.stats.Queued++ }, []string{"QueuedMessages"}},
		{"queued bytes", func(h *fixture) { h.broker.stats.QueuedBytes++ }, []string{"QueuedBytes"}},
		{"received", func(h *fixture) { h.broker.stats.Received++ }, []string{"Accepted"}},
		{"delivered", func(h *fixture) { h.broker.stats.Delivered++ }, []string{"Delivered"}},
		{"malformed", func(h *fixture) { h.broker.stats.Malformed++ }, []string{"Malformed"}},
		{"dropped", func(h *fixture) { h.broker.stats.Dropped = map[string]uint64{"slow-reader": 1} }, []string{"Dropped"}},
		{"waiting", func(h *fixture) { h.outbox.Waiting++ }, []string{"OutboxMessages"}},
		{"waiting bytes", func(h *fixture) { h.outbox.Bytes++ }, []string{"OutboxBytes"}},
		{"the oldest", func(h *fixture) { h.outbox.Oldest = time.Now().Add(-time.Hour) }, []string{"OutboxOldestSeconds"}},
		{"taken for upstream", func(h *fixture) { h.outbox.Accepted++ }, []string{"ForUpstream"}},
		{"forwarded", func(h *fixture) { h.outbox.Acked++ }, []string{"Forwarded"}},
	} {
		h := newFixture(t)
		before := h.inspector.Gauges()
		c.change(h)
		if got := differing(before, h.inspector.Gauges()); !slices.Equal(got, c.want) {
			t.Errorf("%s moves %q, want %q", c.subject, got, c.want)
		}
	}
}

// differing are the names of the fields that differ, sorted.
func differing(a, b metrics.Snapshot) (names []string) {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	for i := range x.NumField() {
		if !reflect.DeepEqual(x.Field(i).Interface(), y.Field(i).Interface()) {
			names = append(names, x.Type().Field(i).Name)
		}
	}
	slices.Sort(names)
	return names
}
