package audit

import (
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Follower receives records as they are emitted. One that reads too slowly loses records, and
// Missed says how many. No caller of Audit waits for it.
type Follower struct {
	c      chan message.AuditRecord
	missed atomic.Uint64
	log    *Log
}

// Follow returns a new Follower. The caller must close it.
func (l *Log) Follow() *Follower {
	f := &Follower{c: make(chan message.AuditRecord, 256), log: l}
	l.mu.Lock()
	l.followers[f] = struct{}{}
	l.mu.Unlock()
	return f
}

// C returns the channel of records. Close closes it.
func (f *Follower) C() <-chan message.AuditRecord { return f.c }

// Missed returns how many records were lost since the last call.
func (f *Follower) Missed() uint64 { return f.missed.Swap(0) }

// Close ends it; a second Close does nothing.
func (f *Follower) Close() {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	if _, open := f.log.followers[f]; open {
		delete(f.log.followers, f)
		close(f.c) // sends happen only with log.mu held
	}
}

func (f *Follower) offer(r message.AuditRecord) {
	if arrival(&r) && len(f.c) >= cap(f.c)/2 { // the other half is for what they must not push out
		f.missed.Add(r.Count)
		return
	}
	select {
	case f.c <- r:
	default:
		f.missed.Add(r.Count)
	}
}
