package store

import "sync"

// sharedLock is held by any number of readers together, or by one writer
// alone. Unlike with sync.RWMutex, a goroutine that holds it shared may lock it
// shared once more while a writer waits: scan holds it during a callback, and the
// callback reads further records. A writer may therefore have to wait long; one that
// must not uses tryLock.
type sharedLock struct {
	mu      sync.Mutex
	changed *sync.Cond // on mu; made by the first that waits
	readers int        // guarded by mu
	locked  bool       // guarded by mu: by a writer
}

func (l *sharedLock) lockShared() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.locked {
		l.wait()
	}
	l.readers++
}

func (l *sharedLock) unlockShared() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.readers--
	l.wake()
}

// tryLock locks for a writer if nobody holds the lock.
func (l *sharedLock) tryLock() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.readers > 0 || l.locked {
		return false
	}
	l.locked = true
	return true
}

// lock waits until nobody holds the lock, and locks for a writer.
func (l *sharedLock) lock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.readers > 0 || l.locked {
		l.wait()
	}
	l.locked = true
}

func (l *sharedLock) unlock() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.locked = false
	l.wake()
}

// wait waits for a change of readers or locked, and wake announces one. Both are called with mu held.
func (l *sharedLock) wait() {
	if l.changed == nil {
		l.changed = sync.NewCond(&l.mu)
	}
	l.changed.Wait()
}

func (l *sharedLock) wake() {
	if l.changed != nil {
		l.changed.Broadcast()
	}
}
