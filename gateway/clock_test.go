package gateway

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
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
	clk.Believe(f.t, 1) // the cloud agrees
	if got := clk.Steady(); !got.Equal(f.t) {
		t.Fatalf("Steady = %v after the cloud's word, want %v", got, f.t)
	}
	clk.Now()
	if len(rang) != 2 || rang[1] {
		t.Fatalf("alarm = %v, want cleared", rang)
	}
	clk.Believe(mark, 1)
	if got := clk.Steady(); got.Before(f.t) {
		t.Fatalf("the mark went back to %v", got)
	}
}

// One wrong clock at the cloud must not move the mark for good: see each case.
func TestClockWantsASecondWitnessForAJump(t *testing.T) {
	mark := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	year := 365 * 24 * time.Hour
	type word struct {
		after, ahead time.Duration // since the word before; of the mark then
		connection   int
		elsewhere    bool
	}
	for _, c := range []struct {
		name  string
		wall  time.Duration // of the system clock, against the mark
		words []word
		moved bool
		doubt []bool
	}{
		{"within a day", -year, []word{{0, 23 * time.Hour, 1, false}}, true, nil},
		{"the system clock agrees", year, []word{{0, year, 1, false}}, true, nil},
		{"nobody agrees", -year, []word{{0, year, 1, false}}, false, []bool{true}},
		{"the same connection again", -year, []word{{0, year, 1, false}, {time.Hour, year, 1, true}}, false, []bool{true}},
		{"another one, too soon", -year, []word{{0, year, 1, false}, {time.Second, year, 2, false}}, false, []bool{true}},
		{"another one that says something else", -year, []word{{0, year, 1, false}, {time.Minute, 2 * year, 2, false}}, false, []bool{true}},
		{"another one that knows better", -year, []word{{0, year, 1, false}, {time.Minute, -time.Minute, 2, false}}, false, []bool{true, false}},
		{"another one that agrees, later", -year, []word{{0, year, 1, false}, {time.Minute, year, 2, false}}, true, []bool{true, false}},
		{"a day at a time", -year, []word{{0, 20 * time.Hour, 1, false}, {time.Minute, 20 * time.Hour, 2, false}}, false, []bool{true}},
		{"far behind", -year, []word{{0, -2 * year, 1, false}, {time.Minute, 0, 1, false}}, false, []bool{true, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeTime{mark.Add(c.wall)}
			clk := newClock(f.now, mark, mark.Add(-10*year), nil)
			var doubt []bool
			clk.doubt = func(raised bool, _ time.Duration) { doubt = append(doubt, raised) }
			var before, said time.Time
			for i, w := range c.words {
				f.t = f.t.Add(w.after)
				before = clk.Steady()
				said = before.Add(w.ahead)
				if elsewhere := clk.Believe(said, w.connection); elsewhere != w.elsewhere {
					t.Errorf("word %d: elsewhere %v", i+1, elsewhere)
				}
			}
			if got := clk.Steady(); got.Equal(said) != c.moved && !said.Equal(before) || !c.moved && !got.Equal(before) {
				t.Errorf("the mark is %v, it was %v, the cloud said %v", got, before, said)
			}
			if !slices.Equal(doubt, c.doubt) {
				t.Errorf("doubt %v, want %v", doubt, c.doubt)
			}
		})
	}
}

// The operator's way back from a wrong time that was believed: credentials no
// longer end too early, and the cache does not stay young for it.
func TestClockIsResetByAnOperator(t *testing.T) {
	mark := time.Date(2036, 5, 1, 0, 0, 0, 0, time.UTC)
	right := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{right}
	clk := newClock(f.now, mark, right.Add(-time.Hour), nil)
	s := newStaging(clk, config.Default().Offline, func(access.Stage, access.Stage, time.Duration) {})
	s.Heard(clk.Steady(), false)
	was, now := clk.Reset(right.Add(-time.Hour))
	if !was.Equal(mark) || !now.Equal(right) || !clk.Now().Equal(right) {
		t.Errorf("from %v to %v, now %v", was, now, clk.Now())
	}
	s.NotAfter(now)
	f.t = right.Add(73 * time.Hour)
	if s.update(); s.Stage() != access.Restricted {
		t.Errorf("three days later: %v, age %v", s.Stage(), s.Age())
	}
	if _, now := clk.Reset(right.Add(time.Hour * 1000)); now.Before(right.Add(time.Hour * 1000)) {
		t.Errorf("reset to %v, before this program was built", now)
	}
}
