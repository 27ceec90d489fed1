package broker_test

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// memory is a store of a Vault that outlives brokers. One goroutine commits, in order; it
// can be held, so that a test sees what waits for it.
type memory struct {
	mu       sync.Mutex
	sessions map[string]message.StoredSession
	queues   map[string]map[uint64]message.StoredDelivery
	retained map[string]*message.Message
	inbound  map[string][]uint16
	wills    map[uint64]message.StoredWill
	stopped  sync.Mutex // while a test holds it, nothing is committed
	ops      chan func()
	done     chan struct{}
	fail     error
	saves    int // of sessions
}

// store is everything that a Vault is made of.
type store interface {
	session.Sessions
	session.Queues
	plane.Retained
	broker.Wills
}

// whole is the Vault that keeps everything in s.
func whole(s store) broker.Vault {
	v := broker.Vault{Sessions: s, Queues: s, Retained: s, Wills: s}
	v.Pages, _ = s.(session.Pages)
	return v
}

func newMemory(t *testing.T) *memory {
	v := &memory{
		sessions: map[string]message.StoredSession{},
		queues:   map[string]map[uint64]message.StoredDelivery{},
		retained: map[string]*message.Message{},
		inbound:  map[string][]uint16{},
		wills:    map[uint64]message.StoredWill{},
		ops:      make(chan func(), 1<<16),
		done:     make(chan struct{}),
	}
	go func() {
		defer close(v.done)
		for op := <-v.ops; op != nil; op = <-v.ops {
			v.stopped.Lock()
			op()
			v.stopped.Unlock()
		}
	}()
	t.Cleanup(func() { v.ops <- nil; <-v.done }) // never closed: what is done last may ask for more
	return v
}

func (v *memory) submit(f func(), done func(error)) {
	v.ops <- func() {
		v.mu.Lock()
		err := v.fail
		if err == nil {
			f()
		}
		v.mu.Unlock()
		if done != nil {
			done(err)
		}
	}
}

// LoadSessions reads what was written, all of it: a broker ends before its
// store, which finishes what it was given.
func (v *memory) LoadSessions(yield func(message.StoredSession) error) error {
	done := make(chan struct{})
	v.ops <- func() { close(done) }
	<-done
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, r := range v.sessions {
		r.InboundQoS2 = v.inbound[r.Key]
		if err := yield(r); err != nil {
			return err
		}
	}
	return nil
}

func (v *memory) LoadQueue(key string, yield func(message.StoredDelivery) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, seq := range slices.Sorted(maps.Keys(v.queues[key])) {
		if err := yield(v.queues[key][seq]); err != nil {
			return err
		}
	}
	return nil
}

func (v *memory) ReadQueue(key string, seqs []uint64) (list []message.StoredDelivery, _ error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, seq := range seqs {
		if q, ok := v.queues[key][seq]; ok {
			list = append(list, q)
		}
	}
	return list, nil
}

func (v *memory) LoadRetained(yield func(*message.Message) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, m := range v.retained {
		if err := yield(m); err != nil {
			return err
		}
	}
	return nil
}

func (v *memory) SaveSession(r message.StoredSession, done func(error)) {
	v.submit(func() { v.saves++; v.sessions[r.Key] = r }, done)
}

func (v *memory) DeleteSession(key string, done func(error)) {
	v.submit(func() { delete(v.sessions, key); delete(v.queues, key); delete(v.inbound, key) }, done)
}

func (v *memory) Receive(key string, id uint16, done func(error)) {
	v.submit(func() { v.inbound[key] = append(v.inbound[key], id) }, done)
}

func (v *memory) Release(key string, id uint16, done func(error)) {
	v.submit(func() {
		v.inbound[key] = slices.DeleteFunc(slices.Clone(v.inbound[key]), func(o uint16) bool { return o == id })
	}, done)
}

func (v *memory) Enqueue(key string, q message.StoredDelivery, done func(error)) {
	v.submit(func() {
		if v.queues[key] == nil {
			v.queues[key] = map[uint64]message.StoredDelivery{}
		}
		v.queues[key][q.Seq] = q
	}, done)
}

func (v *memory) Update(key string, q message.StoredDelivery, done func(error)) {
	v.submit(func() {
		if old, ok := v.queues[key][q.Seq]; ok {
			old.PacketID, old.Released = q.PacketID, q.Released
			v.queues[key][q.Seq] = old
		}
	}, done)
}

func (v *memory) Dequeue(key string, seqs []uint64, done func(error)) {
	seqs = slices.Clone(seqs)
	v.submit(func() {
		for _, s := range seqs {
			delete(v.queues[key], s)
		}
	}, done)
}

func (v *memory) Retain(m *message.Message, done func(error)) {
	v.submit(func() { v.retained[m.Topic] = m }, done)
}

func (v *memory) Unretain(topic string, done func(error)) {
	v.submit(func() { delete(v.retained, topic) }, done)
}

func (v *memory) LoadWills(yield func(message.StoredWill) error) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, id := range slices.Sorted(maps.Keys(v.wills)) {
		if err := yield(v.wills[id]); err != nil {
			return err
		}
	}
	return nil
}

func (v *memory) SaveWill(w message.StoredWill, done func(error)) {
	v.submit(func() { v.wills[w.ID] = w }, done)
}

func (v *memory) DeleteWill(id uint64, done func(error)) {
	v.submit(func() { delete(v.wills, id) }, done)
}

func (v *memory) willsLeft() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.wills)
}

func (v *memory) breakWith(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fail = err
}

func (v *memory) queued(key string) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.queues[key])
}

func (v *memory) saved(key string) (message.StoredSession, bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r, ok := v.sessions[key]
	return r, ok
}

func (v *memory) retains(topic string) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.retained[topic] != nil
}

func (v *memory) sessionWrites() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.saves
}

var errDisk = errors.New("disk")

// identifiers is how many QoS 2 publishes that were received are stored.
func (v *memory) identifiers() (n int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, ids := range v.inbound {
		n += len(ids)
	}
	return n
}
