package broker

import (
	"sync"
	"time"
)

// clock calls functions later: for the expiry of sessions and credentials, delayed wills, and
// purges. After stop none of them runs any more.
type clock struct {
	mu      sync.Mutex          // guards timers and stopped
	timers  map[*timer]struct{} // timers that have neither fired nor been cancelled
	stopped bool
	running sync.WaitGroup // counts the functions that are running
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

// take is called by a timer that has fired. It returns false if the timer was cancelled at the same
// time, and the function must then not run.
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

// cancel stops t, which may be nil.
func (c *clock) cancel(t *timer) {
	if t == nil {
		return
	}
	c.mu.Lock()
	delete(c.timers, t)
	c.mu.Unlock()
	t.t.Stop()
}

// stop cancels all timers and waits for the functions that are running.
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
