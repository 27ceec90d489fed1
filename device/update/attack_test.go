package update

import (
	"strings"
	"testing"
)

// An agent cancels whatever is current, whatever id the cancel names. The
// end of a deployment that only waits must therefore never reach a device on
// which another one runs.
func TestCancelOfWhatWaitsSparesWhatRuns(t *testing.T) {
	for name, cancel := range map[string]func(*bench){
		"local": func(b *bench) {
			if got := b.local(Cancel, "w2", ""); got.Status != 200 {
				b.t.Errorf("cancel: %d %s", got.Status, got.Body)
			}
		},
		"hub": func(b *bench) { b.patch(`{"workflow":{"action":255,"id":"w2"}}`, false) },
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, nil)
			b.patch(applyService("w1", "", "1.1"), true)
			b.report(`{"state":6,"workflow":{"action":3,"id":"w1"}}`)
			b.patch(applyService("w2", "", "1.2"), false) // the device is off
			if p := b.guard.State("d1").Pending; p == nil || p.ID != "w2" || p.Phase != Queued {
				t.Fatalf("pending %+v", p)
			}
			cancel(b)
			b.wantSees(b.look(true), "3 w1")
			b.wantPhase(InProgress)
			if s := b.guard.State("d1"); s.Pending != nil {
				t.Errorf("still waits: %+v", s.Pending)
			}
			b.wantSees(b.look(true), "3 w1")
		})
	}
}

// What was taken away and comes back is shown again: that is an action, and
// the right to it may have been lost meanwhile.
func TestWhatComesBackIsDecidedAgain(t *testing.T) {
	b := newBench(t, nil)
	b.wantSees(b.patch(applyService("w1", "", "1.1"), true), "3 w1")
	b.report(`{"state":255,"workflow":{"action":3,"id":"w1"}}`)
	b.wantSees(b.raw(`{"deviceUpdate":null}`, true), "-")
	b.denied[Create] = unauthorised
	v := b.patch(applyService("w1", "", "1.1"), true)
	b.wantSees(v, "-")
	b.wantReport(v, "not-authorised")
	b.wantSees(b.look(true), "-")
	b.wantPhase(Failed)
	delete(b.denied, Create)
	// Shown again; what is known of it stays.
	b.wantSees(b.look(true), "3 w1")
	b.wantPhase(Failed)
	// The old id brings back only the deployment that had it.
	b.raw(`{"deviceUpdate":null}`, true)
	b.wantSees(b.patch(applyService("w1", "", "1.2"), true), "-")
	b.wantPhase(Failed)
}

// An offer that is held ends no deployment that somebody else was allowed.
func TestHeldHubOfferLeavesALocalDeployment(t *testing.T) {
	for name, service := range map[string]string{"cancel": cancelService, "create": applyService("w2", "", "1.2")} {
		t.Run(name, func(t *testing.T) {
			held := Decision{Hold: true, Reason: "unknown-record"}
			b := newBench(t, func(o *Options) { o.Updates = shelf{t} })
			b.o.RequireRecords, b.o.Records = true, b
			b.records = func(Action, string, string) Decision { return held }
			b.restart()
			if got := b.local(Create, "l1", update2); got.Status != 200 {
				t.Fatalf("%d %s", got.Status, got.Body)
			}
			b.wantSees(b.patch(service, false), "-") // unknown to the source: held
			b.wantSees(b.look(true), "3 l1")
		})
	}
}

// "nodeployment", by which the hub says that there is no deployment, is no id of one;
// other ids must follow the service's own rules.
func TestIDsOfDeployments(t *testing.T) {
	b := newBench(t, func(o *Options) { o.Updates = shelf{t} })
	v := b.patch(applyService("nodeployment", "", "1.1"), true)
	b.wantSees(v, "-")
	b.wantReport(v, "malformed-service")
	for _, id := range []string{"", "nodeployment", "NoDeployment", "l 1", "l\u202e1", `l"1`, "l<1", strings.Repeat("l", 74)} {
		if got := b.local(Create, id, update2); got.Status != 400 {
			t.Errorf("%q: %d %s", id, got.Status, got.Body)
		}
	}
	if s := b.guard.State("d1"); s.Pending != nil {
		t.Errorf("%+v", s.Pending)
	}
}

// A device that is gone takes its modules with it, and nothing of another.
func TestForgetTakesTheModules(t *testing.T) {
	b := newBench(t, nil)
	for _, id := range []string{"d1", "d1/m", "d10", "d10/m"} {
		if _, err := b.guard.Reported(t.Context(), id, js(t, `{"deviceUpdate":{"agent":{"deviceProperties":{"model":"x"}}}}`)); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.guard.Forget(t.Context(), "d1"); err != nil {
		t.Fatal(err)
	}
	b.restart()
	for id, want := range map[string]int{"d1": 0, "d1/m": 0, "d10": 1, "d10/m": 1} {
		if got := len(b.guard.State(id).Properties); got != want {
			t.Errorf("%s: %d properties, want %d", id, got, want)
		}
	}
}
