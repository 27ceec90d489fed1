package update

import (
	"strings"
	"testing"
	"time"
)

// A cancel of a deployment that only waited ends it here and at once. The device, which runs another, is
// told nothing, and nothing waits for it any more.
func TestACancelOfWhatOnlyWaited(t *testing.T) {
	b := newBench(t, nil)
	b.wantSees(b.patch(applyService("w1", "", "1.1"), true), "3 w1")
	b.report(`{"state":6,"workflow":{"action":3,"id":"w1"}}`)
	b.wantSees(b.patch(applyService("w2", "", "1.2"), false), "3 w1") // the device is away
	if p := b.guard.State("d1").Pending; p == nil || p.ID != "w2" {
		t.Fatalf("pending %+v", p)
	}
	v := b.patch(strings.Replace(cancelService, "nodeployment", "w2", 1), false)
	b.wantSees(v, "3 w1")
	if p := b.guard.State("d1").Pending; p != nil {
		t.Errorf("still pending: %+v", p)
	}
	b.wantSees(b.look(true), "3 w1")
	b.wantPhase(InProgress)
}

// A local action that cannot be decided now is declined, and neither kept nor counted as a refusal of the
// hub's: its initiator can ask again.
func TestALocalActionThatIsHeldIsNotKept(t *testing.T) {
	service, err := ParseService(js(t, applyService("l1", "", "1.1")))
	if err != nil {
		t.Fatal(err)
	}
	held := Answered{Decision: Decision{Hold: true, Reason: "restricted"}}
	for name, who := range map[string]Initiator{"local": alice, "hub": {Hub: true}} {
		s, _ := Rules{StuckAfter: time.Hour}.Step(State{}, Offer{Version: 1, Service: service, Who: who, Present: true})
		s, _ = Rules{}.Step(s, Checked{Update: "Contoso/T/1.1"})
		s, _ = Rules{}.Step(s, held)
		switch kept := s.Pending != nil && s.Pending.Phase == Held; {
		case kept != who.Hub:
			t.Errorf("%s: pending %+v", name, s.Pending)
		case !who.Hub && (s.Refusal != nil || s.Declined == nil || s.Declined.Reason != "restricted"):
			t.Errorf("%s: refusal %+v, declined %+v", name, s.Refusal, s.Declined)
		}
	}
}
