package load

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// patience is how long a publisher with a lead waits without a receipt until
// it takes what is missing for lost and goes on.
const patience = time.Second

// publisher sends numbered messages to one topic.
type publisher struct {
	*client
	template template
	interval int64 // nanoseconds between two messages; 0: no rate
	due      int64 // when the next one is

	seq      atomic.Uint32 // how many were sent: the next number
	acked    atomic.Int64
	got      atomic.Int64 // receipts by all receivers that are accounted for
	hungry   atomic.Bool  // waits for receipts
	finished atomic.Bool

	// The writer's alone:
	forgiven int64 // receipts that are not waited for any more
	lastGot  int64
	since    int64 // when lastGot was seen first

	mu       sync.Mutex
	refusals map[byte]int64 // by reason code; guarded by mu
}

// template is an encoded PUBLISH in which identifier and stamp are replaced.
type template struct {
	bytes     []byte
	id, stamp int // where they are; id is 0 at QoS 0
}

func newTemplate(m *message.Message, qos, level byte) template {
	out := frame.Outgoing{Message: m, QoS: qos, ID: 1}
	t := template{bytes: out.Append(nil, level)}
	t.stamp = len(t.bytes) - len(m.Payload)
	if qos > 0 {
		length := 1
		for t.bytes[length]&0x80 != 0 {
			length++
		}
		t.id = length + 1 + 2 + len(m.Topic)
	}
	return t
}

func (t *template) append(dst []byte, id uint16, s stamp) []byte {
	at := len(dst)
	dst = append(dst, t.bytes...)
	if t.id > 0 {
		binary.BigEndian.PutUint16(dst[at+t.id:], id)
	}
	s.put(dst[at+t.stamp:])
	return dst
}

func (p *publisher) produce(buf []byte) ([]byte, time.Duration) {
	x := p.x
	if !x.started.Load() {
		return buf, -1
	}
	for len(buf) < batch {
		seq := p.seq.Load()
		if x.stopped.Load() || x.Count > 0 && seq >= x.Count || seq == math.MaxUint32 {
			p.finished.Store(true)
			return buf, -1
		}
		at := now()
		if p.interval > 0 {
			if p.due == 0 {
				p.due = x.began + p.interval*int64(p.n)/int64(len(x.pubs))
			}
			if at < p.due {
				return buf, time.Duration(p.due - at)
			}
			at = p.due
		}
		if wait := p.ahead(seq); wait > 0 {
			return buf, wait
		}
		id := uint16(0)
		if p.w != nil {
			if id = p.w.take(seq, at); id == 0 {
				return buf, -1
			}
		}
		p.due += p.interval
		buf = p.template.append(buf, id, stamp{run: x.id, publisher: uint32(p.n), seq: seq, at: at})
		p.seq.Store(seq + 1)
	}
	return buf, 0
}

// ahead is how long to wait because the receivers are too far behind; 0: they are not.
func (p *publisher) ahead(seq uint32) time.Duration {
	x := p.x
	if x.Lead == 0 || x.receivers == 0 {
		return 0
	}
	bound := int64(x.Lead) * x.receivers
	if p.behind(seq) < bound {
		return 0
	}
	p.hungry.Store(true)
	if p.behind(seq) <= bound/2 { // a receipt may have come before hungry was seen
		p.hungry.Store(false)
		return 0
	}
	at, got := now(), p.got.Load()
	if got != p.lastGot || p.since == 0 {
		p.lastGot, p.since = got, at
	}
	if waited := time.Duration(at - p.since); waited < patience {
		return patience - waited
	}
	p.forgiven, p.since = p.forgiven+p.behind(seq), 0
	p.hungry.Store(false)
	return 0
}

func (p *publisher) behind(seq uint32) int64 {
	return int64(seq)*p.x.receivers - p.got.Load() - p.forgiven
}

// receipt is called by a receiver for each different message that came.
func (p *publisher) receipt() {
	got := p.got.Add(1)
	if p.hungry.Load() && int64(p.seq.Load())*p.x.receivers-got <= int64(p.x.Lead)*p.x.receivers/2 && p.hungry.CompareAndSwap(true, false) {
		p.l.call()
	}
}

func (p *publisher) answered(at int64, refused byte) {
	if refused != 0 {
		p.mu.Lock()
		p.refusals[refused]++
		p.mu.Unlock()
		return
	}
	p.acked.Add(1)
	if end := now(); end >= p.x.mark.Load() {
		p.x.ack.record(p.n, end-at)
	}
}
