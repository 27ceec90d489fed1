package preflight

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
)

func fieldsOf(problems []config.Problem) []string {
	var list []string
	for _, p := range problems {
		list = append(list, p.Field)
	}
	return list
}

// TestClockBefore2020: a clock that was never set is said plainly, and does not
// keep the gateway from starting: without a battery each power cut would be its end.
func TestClockBefore2020(t *testing.T) {
	cfg := config.Default()
	cfg.State.Dir = config.File(t.TempDir())
	for _, c := range []struct {
		now  time.Time
		said bool
	}{
		{time.Date(1970, 1, 1, 0, 5, 0, 0, time.UTC), true}, {time.Date(2019, 12, 31, 23, 59, 0, 0, time.UTC), true},
		{time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC), false},
	} {
		said := slices.ContainsFunc(passing(&cfg, c.now), func(p config.Problem) bool {
			return p.Warning && p.File == "system clock" &&
				strings.Contains(p.Message, c.now.Format(time.DateOnly)) && strings.Contains(p.Hint, "set the clock")
		})
		if said != c.said {
			t.Errorf("clock %v: said is %v", c.now, said)
		}
		h := health.New(nil)
		warnings.SystemClock(h, c.now, c.now)
		if said := len(h.Report().Warnings) == 1; said != c.said {
			t.Errorf("clock %v: health says it is %v", c.now, said)
		}
	}
}

// TestCheckMakesNothing: whoever checks need not be who runs.
func TestCheckMakesNothing(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.State.Dir = config.File(filepath.Join(dir, "var", "lib", "gatehouse"))
	if p := Check(&cfg); len(p) > 0 {
		t.Errorf("a directory that can be made is refused: %v", p)
	}
	if made, _ := filepath.Glob(filepath.Join(dir, "*")); len(made) > 0 {
		t.Errorf("the check made %v", made)
	}
}

// TestLookSaysAMistakeOnce: what Load has said about a field is not said again in other words.
func TestLookSaysAMistakeOnce(t *testing.T) {
	cfg := config.Default()
	cfg.State.Dir = "/proc/none"
	cfg.Access.Map = "/proc/none/topics.yaml"
	cfg.DeviceUpdate.TrustedRoots = "/proc/none/roots.json"
	loaded := []config.Problem{{Field: "state.dir"}}
	if got := fieldsOf(problemsOf(&cfg, loaded)); !slices.Equal(got, []string{"state.dir", "access.map", "deviceUpdate.trustedRoots"}) {
		t.Errorf("problems of %v", got)
	}
	unread := []config.Problem{{Message: "no such file"}}
	if got := problemsOf(&cfg, unread); len(got) != 1 {
		t.Errorf("a file that was not read has %v", got)
	}
}

// problemsOf is what Look finds when a rehearsal finds nothing.
func problemsOf(cfg *config.Config, loaded []config.Problem) []config.Problem {
	problems, _ := Look(cfg, loaded, func(*config.Config) error { return nil })
	return problems
}
