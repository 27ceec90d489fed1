package memory

import "testing"

func TestMemoryIsTrimmedWhenTheDaemonIsQuiet(t *testing.T) {
	const mib = 1 << 20
	var trim trimmer
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
		if got := trim.due(step.allocated); got != step.want {
			t.Errorf("step %d, %s: %v", i, step.why, got)
		}
	}
}
