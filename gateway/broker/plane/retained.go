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

// retained holds the retained messages, one for each topic. They are read from memory. The vault
// has a copy, which survives a restart.
type retained struct {
	// mu is locked for writing while index is changed. It is locked for reading
	// while a retained message is delivered, so that the message cannot be replaced
	// meanwhile. It is taken before Session.mu.
	mu      sync.RWMutex
	index   atomic.Pointer[tree.Tree[*message.Message]] // read without mu
	count   atomic.Int64                                // messages in index; changed with mu held
	bytes   atomic.Int64                                // their size; changed with mu held
	by      map[string]portion                          // what each publisher takes up, by principal key; guarded by mu
	soonest time.Time                                   // the first expiry; zero if nothing expires; guarded by mu
	round   uint64                                      // how often Plane.Renewed was called; guarded by mu
}

// portion is how much of the store something takes up.
type portion struct{ count, bytes int64 }

func (a portion) plus(m *message.Message) portion {
	return portion{a.count + 1, a.bytes + retainedSize(m)}
}

func (a portion) minus(m *message.Message) portion {
	return portion{a.count - 1, a.bytes - retainedSize(m)}
}

func retainedSize(m *message.Message) int64 { return m.Size() + 256 }

// crowdsOut reports whether a publisher, whose portion grows from own to grown, would have more
// than a quarter of the limit (most) while the whole store (total) is more than half full. It is
// false for a portion that does not grow, so that a publisher can always replace its own
// retained messages.
func crowdsOut(own, grown, total, most int64) bool {
	return grown > own && grown > most/4 && total > most/2
}

// put stores m in place of the retained message of its topic. If m has an empty payload, it removes
// that message (OASIS MQTT 5.0, 3.3.1.3). It returns "" or, if there is no capacity for m, the
// reason. With fair, crowdsOut is such a reason. If something changed, put calls then with
// r.mu held, so that the vault gets the changes in the order in which they were made.
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

// expires brings r.soonest forward if m expires earlier; r.mu is held.
func (r *retained) expires(m *message.Message) {
	if at := m.Expires; !at.IsZero() && (r.soonest.IsZero() || at.Before(r.soonest)) {
		r.soonest = at
	}
}

// due lists the messages that have expired. It does not search before r.soonest.
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

// remove takes m out of the index, of which t is the present value; r.mu is held.
func (r *retained) remove(t tree.Tree[*message.Message], m *message.Message) {
	r.account(m, portion.minus)
	t = t.Delete(m.Topic)
	r.index.Store(&t)
}

// account adds m to the counts of the store and of its publisher (change is portion.plus), or
// subtracts it from them (portion.minus); r.mu is held.
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

// retain stores m as the retained message of its topic, or removes that message. ack then also
// waits for the vault. then is called with p.kept.mu held, so that no Replay looks between
// the change and then. If there is no capacity, m is delivered and not stored, and that is
// counted.
func (p *Plane) retain(m *message.Message, ack *session.Ack, then func()) {
	keep := func() {
		then()
		var done func(error)
		if ack != nil {
			ack.Add()
			done = ack.Stored
		}
		if len(m.Payload) == 0 {
			p.c.Retained.Unretain(m.Topic, done)
		} else {
			p.c.Retained.Retain(m, done)
		}
	}
	full := p.kept.put(m, p.mostRetained(), true, keep)
	if full != "" && p.ExpireRetained(time.Now()) {
		full = p.kept.put(m, p.mostRetained(), true, keep)
	}
	if full != "" {
		p.c.Drop(full)
	}
}

// LoadRetained reads the retained messages from the vault. It does not limit a publisher to its
// quarter (crowdsOut). The limit was applied when the messages were stored; here it would drop
// some of them, chosen by nothing but the order of loading.
func (p *Plane) LoadRetained() error {
	err := p.c.Retained.LoadRetained(func(m *message.Message) error {
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

// Replay delivers the retained messages that a new subscription asks for (OASIS MQTT 5.0,
// 3.3.1.3). existed says whether sub replaced a subscription to the same filter. Replay runs on
// the goroutine that reads the subscriber's connection.
//
// While sub is in the index and Replay has not looked yet, a message that is being
// stored would reach sub twice, live and as retained. Publish therefore notes such
// messages in sub.Live, and Replay leaves them out. When Replay has looked, it sets
// sub.Asked. A message that is stored later reaches sub live only, because Publish
// found sub in the index, or by late.
func (p *Plane) Replay(src Source, sub *session.Sub, existed bool) {
	p.kept.mu.Lock()
	live := sub.Live
	sub.Asked, sub.Live = true, nil
	kept, round := p.kept.index.Load(), p.kept.round
	p.kept.mu.Unlock()
	if sub.Private || sub.Group != "" || sub.RetainHandling == 2 || sub.RetainHandling == 1 && existed {
		return
	}
	now := time.Now()
	w := &work{src: src, patience: p.c.Stall}
	p.replaySystem(w, sub, round)
	for m := range kept.Matching(sub.Inner) {
		if slices.Contains(live, m) {
			continue
		}
		if !m.Expires.IsZero() && !now.Before(m.Expires) {
			p.expire(m)
			continue
		}
		w.src.Gen = sub.Session.Now()
		if !p.Judge(m) {
			continue // its publisher may not publish it now. It stays stored, in case the right returns.
		}
		p.replay(w, sub, m, func() bool {
			now, ok := p.kept.index.Load().Get(m.Topic)
			return ok && now == m
		})
	}
}

// replay delivers m to a new subscription while it is the present value of its topic.
func (p *Plane) replay(w *work, sub *session.Sub, m *message.Message, present func() bool) {
	if w.patience == 0 {
		w.patience = p.c.Stall // granted again when it is used up, because the subscriber holds up only itself
	}
	d := w.src.to(sub, m)
	d.Retain = true
	if d.QoS > 0 && !sub.Session.Reserve(m) {
		p.c.Drop("queue-full-retained")
		return
	}
	o := p.deliverKept(sub.Session, d, present)
	for o == session.Full && w.wait(sub.Session.Buffer()) {
		o = p.deliverKept(sub.Session, d, present)
	}
	p.counted(o)
}

// deliverKept delivers a retained message, unless another one has replaced it. The other one is
// delivered live, perhaps before this one, which would then leave the subscriber with an
// outdated value. present is called with p.kept.mu held for reading.
func (p *Plane) deliverKept(s *session.Session, d session.Delivery, present func() bool) session.Outcome {
	p.kept.mu.RLock()
	defer p.kept.mu.RUnlock()
	if present() {
		return s.Deliver(d, nil)
	}
	if d.QoS > 0 {
		s.Release(d.Message)
	}
	return session.Dropped
}

// expire deletes m, unless another message has replaced it already.
func (p *Plane) expire(m *message.Message) {
	p.kept.mu.Lock()
	defer p.kept.mu.Unlock()
	t := *p.kept.index.Load()
	if now, ok := t.Get(m.Topic); ok && now == m {
		p.kept.remove(t, m)
		p.c.Retained.Unretain(m.Topic, nil)
	}
}

// ExpireRetained deletes the messages that have expired, and reports whether there were any.
func (p *Plane) ExpireRetained(now time.Time) bool {
	due := p.kept.due(now)
	for _, m := range due {
		p.expire(m)
	}
	return len(due) > 0
}

// ForgetRetained deletes the messages of publishers for which gone is true, and
// returns how many.
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

// HiddenRetained counts the retained messages of matching publishers that are stored but not
// delivered now, because their publisher may not publish them any more.
func (p *Plane) HiddenRetained(match func(*principal.Principal) bool) int {
	n := 0
	for m := range p.kept.index.Load().All() {
		if match(m.Publisher) && !p.Judge(m) {
			n++
		}
	}
	return n
}

// Retained returns the number of retained messages and their size in bytes.
func (p *Plane) Retained() (count int, bytes int64) {
	return int(p.kept.count.Load()), p.kept.bytes.Load()
}
