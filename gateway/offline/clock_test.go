package offline_test

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/offline"
)

// fakeTime is a system clock that stands still until a test sets it. Its
// readings carry no monotonic part, so that for a Clock a step of it is time that passed.
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
		clk := offline.NewClock(offline.ClockOptions{System: f.now, Mark: mark, Built: built})
		if got := clk.Now(); !got.Equal(c.want) {
			t.Errorf("%s: Now = %v, want %v", c.name, got, c.want)
		}
	}
}

func TestClockBuildTimeIsTheFloor(t *testing.T) {
	built := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC)
	f := &fakeTime{time.Unix(0, 0).UTC()}
	if got := offline.NewClock(offline.ClockOptions{System: f.now, Built: built}).Now(); !got.Equal(built) {
		t.Fatalf("Now = %v, want the build time %v", got, built)
	}
}

// A start far in the future must not age the cache: only the alarm rings.
func TestClockJumpChangesNoStage(t *testing.T) {
	mark := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	var rang []bool
	f := &fakeTime{mark.Add(40 * 24 * time.Hour)}
	clk := offline.NewClock(offline.ClockOptions{
		System:      f.now,
		Mark:        mark,
		Built:       mark.Add(-time.Hour),
		SystemAhead: func(raised bool, _ time.Duration) { rang = append(rang, raised) },
	})
	if got := clk.Mark(); got.Sub(mark) > time.Minute {
		t.Fatalf("the mark jumped %v ahead of the mark", got.Sub(mark))
	}
	clk.Now()
	clk.Now()
	if len(rang) != 1 || !rang[0] {
		t.Fatalf("alarm = %v, want raised once", rang)
	}
	clk.ReportCloudTime(f.t, 1) // the cloud agrees
	if got := clk.Mark(); !got.Equal(f.t) {
		t.Fatalf("Mark = %v after the cloud's word, want %v", got, f.t)
	}
	clk.Now()
	if len(rang) != 2 || rang[1] {
		t.Fatalf("alarm = %v, want cleared", rang)
	}
	clk.ReportCloudTime(mark, 1)
	if got := clk.Mark(); got.Before(f.t) {
		t.Fatalf("the mark went back to %v", got)
	}
}

// One wrong clock at the cloud must not move the mark for good: see each case.
func TestClockWantsASecondWitnessForAJump(t *testing.T) {
	mark := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	year := 365 * 24 * time.Hour
	type statement struct {
		after      time.Duration // since the statement before
		ahead      time.Duration // of the mark at that moment
		connection int
		reconnect  bool // what the clock must answer
	}
	for _, c := range []struct {
		name       string
		wall       time.Duration // of the system clock, less the mark
		statements []statement
		moved      bool   // the mark moved to the last statement
		doubt      []bool // what CloudInDoubt must be told
	}{
		{"within a day", -year, []statement{{0, 23 * time.Hour, 1, false}}, true, nil},
		{"the system clock agrees", year, []statement{{0, year, 1, false}}, true, nil},
		{"nobody agrees", -year, []statement{{0, year, 1, false}}, false, []bool{true}},
		{"the same connection again", -year, []statement{{0, year, 1, false}, {time.Hour, year, 1, true}}, false, []bool{true}},
		{"another one, too soon", -year, []statement{{0, year, 1, false}, {time.Second, year, 2, false}}, false, []bool{true}},
		{"another one that says something else", -year, []statement{{0, year, 1, false}, {time.Minute, 2 * year, 2, false}}, false, []bool{true}},
		{"another one that knows better", -year, []statement{{0, year, 1, false}, {time.Minute, -time.Minute, 2, false}},
			false, []bool{true, false}},
		{"another one that agrees, later", -year, []statement{{0, year, 1, false}, {time.Minute, year, 2, false}}, true, []bool{true, false}},
		{"a day at a time", -year, []statement{{0, 20 * time.Hour, 1, false}, {time.Minute, 20 * time.Hour, 2, false}}, false, []bool{true}},
		{"far behind", -year, []statement{{0, -2 * year, 1, false}, {time.Minute, 0, 1, false}}, false, []bool{true, false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := &fakeTime{mark.Add(c.wall)}
			var doubt []bool
			clk := offline.NewClock(offline.ClockOptions{
				System:       f.now,
				Mark:         mark,
				Built:        mark.Add(-10 * year),
				CloudInDoubt: func(raised bool, _ time.Duration) { doubt = append(doubt, raised) },
			})
			var before, said time.Time
			for i, w := range c.statements {
				f.t = f.t.Add(w.after)
				before = clk.Mark()
				said = before.Add(w.ahead)
				if reconnect := clk.ReportCloudTime(said, w.connection); reconnect != w.reconnect {
					t.Errorf("statement %d: reconnect %v", i+1, reconnect)
				}
			}
			if got := clk.Mark(); got.Equal(said) != c.moved && !said.Equal(before) || !c.moved && !got.Equal(before) {
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
	built := right.Add(-time.Hour)
	clk := offline.NewClock(offline.ClockOptions{System: f.now, Mark: mark, Built: built})
	s := offline.NewStages(clk, limits, func(offline.Stage, offline.Stage, time.Duration) {})
	s.Confirm(clk.Mark(), false)
	was, now := clk.Reset()
	if !was.Equal(mark) || !now.Equal(right) || !clk.Now().Equal(right) {
		t.Errorf("from %v to %v, now %v", was, now, clk.Now())
	}
	s.NotAfter(now)
	f.t = right.Add(73 * time.Hour)
	if s.Update(); s.Stage() != offline.Restricted {
		t.Errorf("three days later: %v, age %v", s.Stage(), s.Age())
	}
	f.t = built.Add(-1000 * time.Hour)
	if _, now := clk.Reset(); now.Before(built) {
		t.Errorf("reset to %v, before this program was built", now)
	}
}
