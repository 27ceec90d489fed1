package mqttbroker

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestEcho: a probe that somebody asks for goes through the real broker and back, many at once and
// beside the link's own, by the connection that there is; without one it fails at once and says why.
func TestEcho(t *testing.T) {
	b := newRealBroker(t)
	for _, bridge := range []bool{false, true} {
		o := options(b)
		o.Bridge, o.ProbeEvery = bridge, 5*time.Millisecond
		l, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.Echo(t.Context()); err == nil || !strings.Contains(err.Error(), "is down: it has not connected yet") {
			t.Errorf("before there is a connection: %v", err)
		}
		stop := run(t, l.Run)
		eventually(t, "link up", func() bool { return l.Status().Up })
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				if took, err := l.Echo(t.Context()); err != nil || took <= 0 {
					t.Errorf("bridge %v: %v, %v", bridge, took, err)
				}
			})
		}
		all.Wait()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := l.Echo(ended); !errors.Is(err, context.Canceled) && err != nil && !strings.Contains(err.Error(), "probe") {
			t.Errorf("of one who has gone: %v", err)
		}
		stop()
	}
}
