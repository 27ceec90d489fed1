package update

import (
	"fmt"
	"maps"
	"testing"
)

// The counts follow each device, are the same after a restart, and lose a
// device that is forgotten.
func TestCounts(t *testing.T) {
	b := newBench(t, nil)
	want := func(when string, want map[Phase]int) {
		t.Helper()
		if got := b.guard.Counts(); !maps.Equal(got, want) {
			t.Errorf("%s: %v, want %v", when, got, want)
		}
		b.restart()
		if got := b.guard.Counts(); !maps.Equal(got, want) {
			t.Errorf("%s, after a restart: %v, want %v", when, got, want)
		}
	}
	want("nothing yet", map[Phase]int{})
	b.patch(applyService("w1", "", "1.1"), false)
	want("the device is away", map[Phase]int{Queued: 1})
	b.look(true)
	want("it is here", map[Phase]int{Released: 1})
	b.report(`{"state":6,"workflow":{"action":3,"id":"w1"}}`)
	want("it began", map[Phase]int{InProgress: 1})
	b.denied[Create] = unauthorised
	b.patch(applyService("w2", "", "1.2"), true)
	want("another is refused", map[Phase]int{InProgress: 1, Refused: 1})
	b.denied[Create] = Decision{Hold: true, Reason: "held"}
	b.patch(applyService("w3", "", "1.3"), true)
	want("another is held", map[Phase]int{InProgress: 1, Held: 1})
	b.denied[Create] = unauthorised
	b.patch(cancelService, true)
	want("the running one is to end", map[Phase]int{InProgress: 1})
	b.report(`{"state":0,"workflow":{"action":255,"id":"nodeployment"},"lastInstallResult":{"resultCode":-1}}`)
	want("it has ended", map[Phase]int{Cancelled: 1})
	b.broken = true
	delete(b.denied, Create)
	b.patch(applyService("w4", "", "1.4"), true)
	want("the journal fails: nothing happened", map[Phase]int{Cancelled: 1})
	b.broken = false
	if err := b.guard.Forget(t.Context(), "d1"); err != nil {
		t.Fatal(err)
	}
	want("the device is gone", map[Phase]int{})
}

// Counts is the sum over the devices, whatever the order of what happens to them.
func TestCountsOfManyDevices(t *testing.T) {
	b := newBench(t, nil)
	for i := range 5 {
		d := b.guard.device(fmt.Sprint("d", i))
		d.mu.Lock()
		d.state = State{Current: &Deployment{ID: "w", Phase: Succeeded}}
		if i%2 == 0 {
			d.state.Pending = &Deployment{ID: "v", Phase: Queued}
		}
		b.guard.count(d)
		b.guard.count(d) // the same again changes nothing
		d.mu.Unlock()
	}
	if got, want := b.guard.Counts(), (map[Phase]int{Succeeded: 5, Queued: 3}); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
