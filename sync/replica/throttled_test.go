package replica

import (
	"testing"
	"testing/synctest"
	"time"
)

// throttled is the error of a server that says when it wants to be asked again.
type throttled struct{ after time.Duration }

func (throttled) Error() string               { return "429" }
func (e throttled) RetryAfter() time.Duration { return e.after }

// A server that throttles is not asked before the time that it named, however short the backoff is.
func TestAThrottlingServerIsAskedWhenItSays(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.set(func() { g.cloud.down = throttled{50 * time.Second} })
		synctest.Wait() // the long poll ends, and the next request is refused
		if g.cloud.asked() == "" {
			t.Fatal("it was not asked")
		}
		time.Sleep(45 * time.Second)
		synctest.Wait()
		g.expect("before its time", g.cloud.asked(), "")
		g.cloud.set(func() { g.cloud.down = nil })
		time.Sleep(20 * time.Second)
		synctest.Wait()
		if g.cloud.asked() == "" {
			t.Error("it is never asked again")
		}
	})
}
