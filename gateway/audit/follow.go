package audit

import (
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Follower receives records as they are emitted. One that does not read loses
// records, and Missed says how many; nobody ever waits for it.
type Follower struct {
	c      chan message.AuditRecord
	missed atomic.Uint64
	log    *Log
}

// Follow begins to follow. Close it.
func (l *Log) Follow() *Follower {
	f := &Follower{c: make(chan message.AuditRecord, 256), log: l}
	l.mu.Lock()
	l.followers[f] = struct{}{}
	l.mu.Unlock()
	return f
}

// C delivers the records. It is closed by Close.
func (f *Follower) C() <-chan message.AuditRecord { return f.c }

// Missed returns how many records were lost since it was last asked.
func (f *Follower) Missed() uint64 { return f.missed.Swap(0) }

// Close ends it; a second Close does nothing.
func (f *Follower) Close() {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	if _, open := f.log.followers[f]; open {
		delete(f.log.followers, f)
		close(f.c) // nobody sends without log.mu
	}
}

func (f *Follower) offer(r message.AuditRecord) {
	select {
	case f.c <- r:
	default:
		f.missed.Add(r.Count)
	}
}
