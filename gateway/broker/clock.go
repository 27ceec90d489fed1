package broker

import (
	"sync"
	"time"
)

// clock runs functions later: session and credential expiry, delayed wills,
// purges. After stop none of them runs any more.
type clock struct {
	mu      sync.Mutex          // guards timers and stopped
	timers  map[*timer]struct{} // set and neither fired nor cancelled
	stopped bool
	running sync.WaitGroup // functions that run now
}

type timer struct{ t *time.Timer }

// after runs f once d has passed, on a goroutine of its own, unless the timer is
// cancelled before. After stop it does nothing and returns nil.
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

// take claims a timer that has fired; false if it was cancelled at the same time.
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
