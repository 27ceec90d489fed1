package plane

import (
	"fmt"
	"slices"
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
	mu    sync.RWMutex // serialises changes; held for reading while one is delivered, before Session.mu
	index atomic.Pointer[tree.Tree[*message.Message]]
	count atomic.Int64
	bytes atomic.Int64
	by    map[string]portion // guarded by mu: what each publisher has, by key
	// soonest, guarded by mu: nothing expires before; zero: nothing expires.
	soonest time.Time
}

// portion is some part of the store.
type portion struct{ count, bytes int64 }

func (a portion) plus(m *message.Message) portion {
	return portion{a.count + 1, a.bytes + retainedSize(m)}
}

func (a portion) minus(m *message.Message) portion {
	return portion{a.count - 1, a.bytes - retainedSize(m)}
}

func retainedSize(m *message.Message) int64 { return m.Size() + 256 }

// crowdsOut tells whether a publisher whose portion grows from own to grown
// takes more than a quarter of a store that is more than half full. What does
// not grow is no worse than before: values can be replaced for ever.
func crowdsOut(own, grown, total, most int64) bool {
	return grown > own && grown > most/4 && total > most/2
}

// put stores or, with an empty payload, removes. full is the reason why there
// is no room, or "". fair also holds the publisher to its share. then runs, if
// something changed, under the lock: the vault hears of changes in their order.
func (r *retained) put(m *message.Message, most portion, fair bool, then func()) (full string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := *r.index.Load()
	old, had := t.Get(m.Topic)
	if len(m.Payload) == 0 {
		if had {
			r.remove(t, old)
			then()
		}
		return ""
	}
	total := portion{r.count.Load(), r.bytes.Load()}.plus(m)
	own := r.by[m.Publisher.Key]
	grown := own.plus(m)
	if had {
		total = total.minus(old)
		if old.Publisher.Key == m.Publisher.Key {
			grown = grown.minus(old)
		}
	}
	if total.count > most.count || total.bytes > most.bytes {
		return "retained-full"
	}
	if fair && (crowdsOut(own.count, grown.count, total.count, most.count) || crowdsOut(own.bytes, grown.bytes, total.bytes, most.bytes)) {
		return "retained-share-full"
	}
	if had {
		r.account(old, portion.minus)
	}
	r.account(m, portion.plus)
	t = t.Put(m.Topic, m)
	r.index.Store(&t)
	r.expires(m)
	then()
	return ""
}

// expires takes note of when m does; the lock is held.
func (r *retained) expires(m *message.Message) {
	if at := m.Expires; !at.IsZero() && (r.soonest.IsZero() || at.Before(r.soonest)) {
		r.soonest = at
	}
}

// due lists what has expired. It looks only when something must be found.
func (r *retained) due(now time.Time) (list []*message.Message) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.soonest.IsZero() || now.Before(r.soonest) {
		return nil
	}
	r.soonest = time.Time{}
	for m := range r.index.Load().All() {
		if !m.Expires.IsZero() && !now.Before(m.Expires) {
			list = append(list, m)
			continue
		}
		r.expires(m)
	}
	return list
}

// remove takes m out of t, which is the present index; the lock is held.
func (r *retained) remove(t tree.Tree[*message.Message], m *message.Message) {
	r.account(m, portion.minus)
	t = t.Delete(m.Topic)
	r.index.Store(&t)
}

// account counts m in or out, in all and for its publisher; the lock is held.
func (r *retained) account(m *message.Message, change func(portion, *message.Message) portion) {
	total := change(portion{r.count.Load(), r.bytes.Load()}, m)
	r.count.Store(total.count)
	r.bytes.Store(total.bytes)
	if r.by == nil {
		r.by = map[string]portion{}
	}
	own := change(r.by[m.Publisher.Key], m)
	if own.count == 0 {
		delete(r.by, m.Publisher.Key)
		return
	}
	r.by[m.Publisher.Key] = own
}

func (p *Plane) mostRetained() portion {
	return portion{int64(p.c.MaxRetained), p.c.MaxRetainedBytes}
}

// retain stores m; then runs with it, before anybody reads what is retained.
func (p *Plane) retain(m *message.Message, ack *session.Ack, then func()) byte {
	keep := func() {
		then()
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
	}
	full := p.kept.put(m, p.mostRetained(), true, keep)
	if full != "" && p.ExpireRetained(time.Now()) {
		full = p.kept.put(m, p.mostRetained(), true, keep)
	}
	if full != "" {
		p.c.Drop(full)
		return message.QuotaExceeded
	}
	return message.Success
}

// LoadRetained reads what survived. It was within its publishers' shares when
// it was stored; which of them is read first says nothing about them.
func (p *Plane) LoadRetained() error {
	err := p.c.Vault.LoadRetained(func(m *message.Message) error {
		if m.Publisher == nil || len(m.Payload) == 0 {
			p.c.Drop("retained-without-publisher")
			return nil
		}
		if full := p.kept.put(m, p.mostRetained(), false, func() {}); full != "" {
			p.c.Drop(full)
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
	p.kept.mu.Lock()
	live := sub.Live
	sub.Asked, sub.Live = true, nil // what is stored from here on finds it: see late
	kept := p.kept.index.Load()
	p.kept.mu.Unlock()
	if sub.Private || sub.Group != "" || sub.RetainHandling == 2 || sub.RetainHandling == 1 && existed {
		return
	}
	now := time.Now()
	w := &work{src: src, patience: p.c.Stall}
	for m := range kept.Matching(sub.Inner) {
		if slices.Contains(live, m) {
			continue
		}
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
		o := p.deliverKept(sub.Session, d)
		for o == session.Full && w.wait(sub.Session.Buffer()) {
			o = p.deliverKept(sub.Session, d)
		}
		p.counted(o)
	}
}

// deliverKept delivers a retained message unless it has been replaced: what took
// its place is on its way to s, and s must not be left with the older one.
func (p *Plane) deliverKept(s *session.Session, d session.Delivery) session.Outcome {
	p.kept.mu.RLock()
	defer p.kept.mu.RUnlock()
	if now, ok := p.kept.index.Load().Get(d.Message.Topic); ok && now == d.Message {
		return s.Deliver(d, nil)
	}
	if d.QoS > 0 {
		s.Release(d.Message)
	}
	return session.Dropped
}

func (p *Plane) expire(m *message.Message) {
	p.kept.mu.Lock()
	defer p.kept.mu.Unlock()
	t := *p.kept.index.Load()
	if now, ok := t.Get(m.Topic); ok && now == m {
		p.kept.remove(t, m)
		p.c.Vault.Unretain(m.Topic, nil)
	}
}

// ExpireRetained deletes what has expired, and tells whether there was anything.
func (p *Plane) ExpireRetained(now time.Time) bool {
	due := p.kept.due(now)
	for _, m := range due {
		p.expire(m)
	}
	return len(due) > 0
}

// ForgetRetained deletes what deleted principals have published.
func (p *Plane) ForgetRetained(gone func(*principal.Principal) bool) int {
	n := 0
	for m := range p.kept.index.Load().All() {
		if gone(m.Publisher) {
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
