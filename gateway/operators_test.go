package gateway

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/health"
)

// Connections that cannot be taken in are seen in health while that lasts.
func TestAcceptance(t *testing.T) {
	d := &daemon{reports: reports{health: health.New(time.Now)}}
	for i, step := range []struct {
		failures uint64
		state    string
	}{{0, "ok"}, {3, "degraded"}, {4, "degraded"}, {4, "ok"}} {
		d.acceptance(step.failures)
		if got := d.health.Report().State; got != step.state {
			t.Errorf("step %d: %s", i, got)
		}
	}
}
