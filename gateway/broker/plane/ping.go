package plane

import "sync"

// Ping returns when it has taken and released the plane's locks, for the watchdog: never, if somebody
// holds one of them for ever. Both are taken for writing, because a reader that hangs stops every writer.
func (p *Plane) Ping() {
	for _, lock := range []sync.Locker{&p.mu, &p.kept.mu} { // one after the other: it needs no order among them
		lock.Lock()
		lock.Unlock() //nolint:staticcheck // that it could be taken is all that matters
	}
}
