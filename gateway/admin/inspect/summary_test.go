package inspect_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

// The line for systemctl status agrees with Status, and changes with the policy, the stage, the
// health and the link.
func TestSummaryFollowsStatus(t *testing.T) {
	h := newFixture(t)
	want := func(line string) {
		t.Helper()
		if got := h.inspector.Summary(); got != line {
			t.Errorf("%q, want %q", got, line)
		}
		s := h.inspector.Status()
		again := "policy " + s.Cache.Version + ", " + s.Cache.Stage + "; health " + s.Health.State
		if got := h.inspector.Summary(); s.Cache.Version != "" && (len(got) < len(again) || got[:len(again)] != again) {
			t.Errorf("%q contradicts the status, %q", got, again)
		}
	}
	want("policy 1.1, fresh; health ok; upstream connected")
	h.stage = offline.Expired
	want("policy 1.1, expired; health ok; upstream connected")
	h.stage = offline.Fresh
	h.index, _ = authz.Compile(model.Snapshot{Version: model.Version{Epoch: 1, Number: 2}})
	want("policy 1.2, fresh; health ok; upstream connected")
	h.link = "down"
	want("policy 1.2, fresh; health ok; upstream down")
	h.report = health.Report{State: "failing", Warnings: []health.Warning{{Name: "cache-dirty"}, {Name: "clock-jump"}}}
	want("policy 1.2, fresh; health failing: cache-dirty, clock-jump; upstream down")
	h.report.Warnings = append(h.report.Warnings, health.Warning{Name: "c"}, health.Warning{Name: "d"}, health.Warning{Name: "e"})
	want("policy 1.2, fresh; health failing: cache-dirty, clock-jump, c and 2 more; upstream down")
	h.report.Warnings[0].Text = "a change of rights could not be stored"
	want("policy 1.2, fresh; health failing: cache-dirty (a change of rights could not be stored), clock-jump, c and 2 more; upstream down")
	h.report.Warnings[0].Text = strings.Repeat("é", 1000)
	if got := h.inspector.Summary(); len([]rune(got)) > 420 || !utf8.ValidString(got) {
		t.Errorf("a line of %d characters, valid: %v", len([]rune(got)), utf8.ValidString(got))
	}
	h.report.Warnings[0].Text = ""
	h.loaded = false
	want("policy none yet, fresh; health failing: cache-dirty, clock-jump, c and 2 more; upstream down")
}
