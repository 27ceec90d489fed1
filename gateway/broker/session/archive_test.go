package session

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// archive is a vault of sessions and queues that commits at once, or when the test says so.
type archive struct {
	nowhere
	mu       sync.Mutex // guards queue
	queue    map[uint64]message.StoredDelivery
	saved    message.StoredSession
	pending  []func()
	hold     bool  // nothing is committed before commit
	fail     error // of reads; guarded by mu
	reads    int
	deleted  int
	reading  func() // called while a page is read
	longest  int    // page
	dequeued int
}

func newArchive() *archive { return &archive{queue: map[uint64]message.StoredDelivery{}} }

func (a *archive) submit(f func(), done func(error)) {
	op := func() {
		a.mu.Lock()
		f()
		a.mu.Unlock()
		if done != nil {
			done(nil)
		}
	}
	if a.hold {
		a.pending = append(a.pending, op)
		return
	}
	op()
}

func (a *archive) commit() {
	ops := a.pending
	a.pending = nil
	for _, op := range ops {
		op()
	}
}

func (a *archive) SaveSession(r message.StoredSession, done func(error)) {
	a.submit(func() { a.saved = r }, done)
}

func (a *archive) DeleteSession(_ string, done func(error)) {
	a.submit(func() { a.deleted++; clear(a.queue) }, done)
}

func (a *archive) Enqueue(_ string, q message.StoredDelivery, done func(error)) {
	a.submit(func() { a.queue[q.Seq] = q }, done)
}

func (a *archive) Dequeue(_ string, seqs []uint64, done func(error)) {
	a.submit(func() {
		for _, seq := range seqs {
			a.dequeued++
			delete(a.queue, seq)
		}
	}, done)
}

func (a *archive) LoadQueue(_ string, yield func(message.StoredDelivery) error) error {
	for _, seq := range slices.Sorted(maps.Keys(a.queue)) {
		if err := yield(a.queue[seq]); err != nil {
			return err
		}
	}
	return nil
}

func (a *archive) LoadSessions(yield func(message.StoredSession) error) error { return yield(a.saved) }

func (a *archive) ReadQueue(_ string, seqs []uint64) (list []message.StoredDelivery, err error) {
	a.reads++
	a.longest = max(a.longest, len(seqs))
	if a.reading != nil {
		a.reading()
	}
	if !slices.IsSorted(seqs) {
		return nil, errors.New("not in order")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, seq := range seqs {
		if q, ok := a.queue[seq]; ok {
			list = append(list, q)
		}
	}
	return list, a.fail
}

func (a *archive) config() Config {
	c := everything(nil)
	c.Sessions, c.Queues, c.Pages = a, a, a
	c.QueueMessages, c.QueueBytes = 1000, 8<<20
	return c
}

// sent lists the payloads of what the client has and has not acknowledged, in order, and
// the packet identifiers.
func sent(s *Session) (list []string, ids []uint16) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range slices.SortedFunc(maps.Values(s.ids), bySeq) {
		if e.sent {
			list, ids = append(list, string(e.m.Payload)), append(ids, e.id)
		}
	}
	return list, ids
}

// drain acknowledges until nothing comes any more, and returns what came, in order.
func drain(t *testing.T, s *Session) (all []string) {
	t.Helper()
	for range 10_000 {
		synctest.Wait()
		now, ids := sent(s)
		if len(now) == 0 {
			return all
		}
		all = append(all, now...)
		for _, id := range ids {
			s.Acknowledged(s.claim, frame.PUBACK, frame.Ack{ID: id})
		}
	}
	t.Fatal("it never ends")
	return nil
}

func numbered(from, to int) (list []string) {
	for i := from; i < to; i++ {
		list = append(list, fmt.Sprintf("p%04d", i))
	}
	return list
}

// back connects the client of the session again.
func back(t *testing.T, st *Store, s *Session, conn string, window int) {
	t.Helper()
	o := st.Open(Request{
		Principal:  s.Principal(),
		Rights:     s.rights,
		ClientID:   s.ClientID,
		Persistent: true,
		Expiry:     time.Hour,
		Conn:       conn,
		Allow:      func(*Sub) bool { return true },
	})
	if o.Session != s {
		t.Fatal("another session")
	}
	attach(t, s, &vessel{}, window)
}
