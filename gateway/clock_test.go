package gateway

import (
	"testing"
	"time"
)

// fakeTime is a wall clock and a monotonic clock that can be set apart. The
// readings carry no monotonic part, so it is added by hand through skew: wall
// jumps move both the reading and the anchor's frame.
type fakeTime struct{ t time.Time }

func (f *fakeTime) now() time.Time { return f.t }

func TestClockNeverGoesBehindTheMark(t *testing.T) {
	mark := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	built := mark.Add(-30 * 24 * time.Hour)
	for _, c := range []struct {
		name string
		wall time.Time
		want time.Time
	}{
		{"device clock at 1970", time.Unix(0, 0).UTC(), mark},
		{"an hour later", mark.Add(time.Hour), mark.Add(time.Hour)},
		{"a year ahead", mark.Add(365 * 24 * time.Hour), mark.Add(365 * 24 * time.Hour)},
	} {
		f := &fakeTime{c.wall}
		clk := newClock(f.now, mark, built, nil)
		if got := clk.Now(); !got.Equal(c.want) {
			t.Errorf("%s: Now = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestClockBuildTimeIsTheFloor(t *testing.T) {
	built := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{time.Unix(0, 0).UTC()}
	if got := newClock(f.now, time.Time{}, built, nil).Now(); !got.Equal(built) {
		t.Fatalf("Now = %v, want the build time %v", got, built)
	}
}

// A start far in the future must not age the cache: only the alarm rings.
func TestClockJumpChangesNoStage(t *testing.T) {
	mark := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var rang []bool
	f := &fakeTime{mark.Add(40 * 24 * time.Hour)}
	clk := newClock(f.now, mark, mark.Add(-time.Hour), func(on bool, _ time.Duration) { rang = append(rang, on) })
	if got := clk.Steady(); got.Sub(mark) > time.Minute {
		t.Fatalf("Steady jumped %v ahead of the mark", got.Sub(mark))
	}
	clk.Now()
	clk.Now()
	if len(rang) != 1 || !rang[0] {
		t.Fatalf("alarm = %v, want raised once", rang)
	}
	clk.Believe(f.t) // the cloud agrees
	if got := clk.Steady(); !got.Equal(f.t) {
		t.Fatalf("Steady = %v after the cloud's word, want %v", got, f.t)
	}
	clk.Now()
	if len(rang) != 2 || rang[1] {
		t.Fatalf("alarm = %v, want cleared", rang)
	}
	clk.Believe(mark)
	if got := clk.Steady(); got.Before(f.t) {
		t.Fatalf("the mark went back to %v", got)
	}
}
