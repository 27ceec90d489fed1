package plane

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/broker/tree"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// retained is the retained store: one message for each topic, in memory, and
// in the vault.
type retained struct {
	mu    sync.Mutex // serialises changes
	index atomic.Pointer[tree.Tree[*message.Message]]
	count atomic.Int64
	bytes atomic.Int64
}

func retainedSize(m *message.Message) int64 { return m.Size() + 256 }

// put stores or, with an empty payload, removes; false: there is no room.
func (r *retained) put(m *message.Message, maxCount int, maxBytes int64) (changed, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := *r.index.Load()
	old, had := t.Get(m.Topic)
	count, bytes := r.count.Load(), r.bytes.Load()
	if had {
		count--
		bytes -= retainedSize(old)
	}
	if len(m.Payload) == 0 {
		if !had {
			return false, true
		}
		t = t.Delete(m.Topic)
	} else {
		count++
		bytes += retainedSize(m)
		if count > int64(maxCount) || bytes > maxBytes {
			return false, false
		}
		t = t.Put(m.Topic, m)
	}
	r.count.Store(count)
	r.bytes.Store(bytes)
	r.index.Store(&t)
	return true, true
}

func (p *Plane) retain(m *message.Message, ack *session.Ack) byte {
	changed, ok := p.kept.put(m, p.c.MaxRetained, p.c.MaxRetainedBytes)
	if !ok {
		p.c.Drop("retained-full")
		return message.QuotaExceeded
	}
	if !changed {
		return message.Success
	}
	var done func(error)
	if ack != nil {
		ack.Add()
		done = ack.Stored
	}
	if len(m.Payload) == 0 {
		p.c.Vault.Unretain(m.Topic, done)
	} else {
		p.c.Vault.Retain(m, done)
	}
	return message.Success
}

// LoadRetained reads what survived.
func (p *Plane) LoadRetained() error {
	err := p.c.Vault.LoadRetained(func(m *message.Message) error {
		if m.Publisher == nil || len(m.Payload) == 0 {
			p.c.Drop("retained-without-publisher")
			return nil
		}
		if _, ok := p.kept.put(m, p.c.MaxRetained, p.c.MaxRetainedBytes); !ok {
			p.c.Drop("retained-full")
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("load retained messages: %w", err)
	}
	return nil
}

// Replay delivers the retained messages that sub asks for. It runs on the
// subscriber's own reader.
func (p *Plane) Replay(src Source, sub *session.Sub, existed bool) {
	if sub.Private || sub.Group != "" || sub.RetainHandling == 2 || sub.RetainHandling == 1 && existed {
		return
	}
	now := time.Now()
	w := &work{src: src, patience: p.c.Stall}
	for m := range p.kept.index.Load().Matching(sub.Inner) {
		if !m.Expires.IsZero() && !now.Before(m.Expires) {
			p.expire(m)
			continue
		}
		if w.patience == 0 {
			w.patience = p.c.Stall // its own reader waits for nobody else
		}
		w.src.Gen = sub.Session.Now()
		if !p.Judge(m) {
			continue // hidden while its publisher may not publish it
		}
		d := w.src.to(sub, m)
		d.Retain = true
		if d.QoS > 0 && !sub.Session.Reserve(m) {
			p.c.Drop("queue-full-retained")
			continue
		}
		p.deliver(w, sub.Session, d, nil)
	}
}

func (p *Plane) expire(m *message.Message) {
	p.kept.mu.Lock()
	t := *p.kept.index.Load()
	now, ok := t.Get(m.Topic)
	if ok = ok && now == m; ok {
		t = t.Delete(m.Topic)
		p.kept.count.Add(-1)
		p.kept.bytes.Add(-retainedSize(m))
		p.kept.index.Store(&t)
	}
	p.kept.mu.Unlock()
	if ok {
		p.c.Vault.Unretain(m.Topic, nil)
	}
}

// ForgetRetained deletes what a deleted principal has published.
func (p *Plane) ForgetRetained(publisher string) int {
	n := 0
	for m := range p.kept.index.Load().All() {
		if m.Publisher.Key == publisher {
			p.expire(m)
			n++
		}
	}
	return n
}

// HiddenRetained counts the retained messages of matching publishers that
// are hidden now.
func (p *Plane) HiddenRetained(match func(*principal.Principal) bool) int {
	n := 0
	for m := range p.kept.index.Load().All() {
		if match(m.Publisher) && !p.Judge(m) {
			n++
		}
	}
	return n
}

// Retained tells how many retained messages there are, and their size.
func (p *Plane) Retained() (count int, bytes int64) {
	return int(p.kept.count.Load()), p.kept.bytes.Load()
}
