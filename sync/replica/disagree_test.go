package replica

import (
	"testing"
	"testing/synctest"
	"time"
)

// Two suspicious answers that differ in what they lack replace nothing: a server that says something else
// each time is believed neither time.
func TestTwoSuspiciousAnswersThatDiffer(t *testing.T) {
	for name, second := range map[string]func(c *cloud){
		"lacks something else": func(c *cloud) { c.devices, c.assigns = 20, 0 },
		"lacks more":           func(c *cloud) { c.assigns = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(g *rig) {
				g.sink.seen()
				g.cloud.set(func() { g.cloud.version.Number, g.cloud.gap, g.cloud.devices = 2, true, 0 })
				synctest.Wait() // the first read is done, the second is five seconds away
				g.cloud.set(func() { second(g.cloud) })
				time.Sleep(5 * time.Second)
				synctest.Wait()
				g.expect("neither of them", g.sink.seen(), "")
				if got := g.r.Status().Health.Code; got != Unexplained {
					t.Errorf("health %q, want %q", got, Unexplained)
				}
			})
		})
	}
}
