package memory

import (
	"testing"
	"time"
)

func TestMemoryIsTrimmedWhenTheDaemonIsQuiet(t *testing.T) {
	const mib = 1 << 20
	var trim trimmer
	now := time.Unix(1, 0)
	for i, step := range []struct {
		allocated uint64
		want      bool
		why       string
	}{
		{60 * mib, false, "the start is under way"},
		{90 * mib, false, "it goes on"},
		{90*mib + 100, true, "the start is over"},
		{90*mib + 200, false, "nothing new came since"},
		{92 * mib, false, "little came, and it is not quiet"},
		{92*mib + 100, false, "little came"},
		{94 * mib, false, "almost enough, and it is not quiet"},
		{94*mib + 50, false, "almost enough"},
		{94*mib + 500_000, true, "the trickle has become enough"},
		{300 * mib, false, "load"},
		{500 * mib, false, "more load"},
		{500*mib + mib/4, true, "quiet again"},
	} {
		if got := trim.due(now, step.allocated); got != step.want {
			t.Errorf("step %d, %s: %v", i, step.why, got)
		}
	}
}

// What is released later is collected as well: once, and not while somebody could be delayed.
func TestMemoryIsTrimmedOnceMore(t *testing.T) {
	const mib = 1 << 20
	var trim trimmer
	start := time.Unix(1, 0)
	for i, step := range []struct {
		after     time.Duration
		allocated uint64
		want      bool
		why       string
	}{
		{0, 60 * mib, false, "load"},
		{2 * time.Second, 60 * mib, true, "quiet"},
		{4 * time.Second, 60*mib + 100, false, "it was collected just now"},
		{21 * time.Second, 60*mib + 200, false, "not yet"},
		{22 * time.Second, 60*mib + 300, true, "once more"},
		{70 * time.Second, 60*mib + 400, false, "that was all"},
		{72 * time.Second, 90 * mib, false, "load"},
		{74 * time.Second, 90 * mib, true, "quiet"},
		{104 * time.Second, 93 * mib, false, "it is time, and not quiet"},
		{106 * time.Second, 93 * mib, true, "quiet again"},
		{140 * time.Second, 93 * mib, false, "that was all"},
		{142 * time.Second, 99 * mib, false, "load"},
		{144 * time.Second, 99 * mib, true, "quiet"},
		{150 * time.Second, 120 * mib, false, "load"},
		{152 * time.Second, 120 * mib, true, "quiet"},
		{166 * time.Second, 120 * mib, false, "counted from the last one"},
		{172 * time.Second, 120 * mib, true, "once more"},
	} {
		if got := trim.due(start.Add(step.after), step.allocated); got != step.want {
			t.Errorf("step %d, %s: %v", i, step.why, got)
		}
	}
}
