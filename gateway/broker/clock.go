package broker

import (
	"sync"
	"time"
)

// clock runs things later: session and credential expiry, delayed wills,
// purges. Nothing of it survives stop.
type clock struct {
	mu      sync.Mutex // guards the rest
	timers  map[*timer]struct{}
	stopped bool
	running sync.WaitGroup
}

type timer struct{ t *time.Timer }

// after runs f once d has passed, on its own goroutine, unless the timer is
// stopped before. It may return nil, after stop.
func (c *clock) after(d time.Duration, f func()) *timer {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopped {
		return nil
	}
	if c.timers == nil {
		c.timers = map[*timer]struct{}{}
	}
	t := &timer{}
	c.timers[t] = struct{}{}
	t.t = time.AfterFunc(d, func() {
		if c.take(t) {
			defer c.running.Done()
			f()
		}
	})
	return t
}

// take claims a timer that has fired; false: it was cancelled meanwhile.
func (c *clock) take(t *timer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.timers[t]; !ok {
		return false
	}
	delete(c.timers, t)
	c.running.Add(1)
	return true
}

// cancel stops t; nil is fine.
func (c *clock) cancel(t *timer) {
	if t == nil {
		return
	}
	c.mu.Lock()
	delete(c.timers, t)
	c.mu.Unlock()
	t.t.Stop()
}

// stop cancels everything and waits for what runs.
func (c *clock) stop() {
	c.mu.Lock()
	c.stopped = true
	for t := range c.timers {
		t.t.Stop()
	}
	c.timers = nil
	c.mu.Unlock()
	c.running.Wait()
}
