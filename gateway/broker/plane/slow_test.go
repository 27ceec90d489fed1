package plane_test

import (
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

const (
	stall = 5 * time.Second
	limit = time.Minute
	tick  = 100 * time.Millisecond
	slots = 8 // deliveries of the receiver
)

// slow is one receiver, and publishers who publish to it one message after the other.
type slow struct {
	p      *plane.Plane
	st     *session.Store
	r      *session.Session
	conn   *outlet // nil: it is away
	out    *outbuf.Buffer
	unread []uint16 // packet identifiers of what it has not acknowledged
	pubs   []*slowPublisher

	sent, acked int
	absent      bool          // it has been away at some time
	waited      time.Duration // how long somebody waited for it, at least
	waits       []time.Time   // the ends of the ticks in which somebody did
}

type slowPublisher struct {
	sess *session.Session
	busy atomic.Bool
	took atomic.Int64
}

func newSlow() *slow {
	w := &slow{}
	none := func() {}
	w.p = plane.New(plane.Config{Access: yes{}, Retained: yes{}, MaxRetained: 10, MaxRetainedBytes: 1 << 20,
		Drop: func(string) {}, Denied: none, Delivered: none})
	w.st = session.NewStore(session.Config{Sessions: yes{}, Queues: yes{}, Judge: w.p.Judge, Drop: func(string) {}, Index: w.p,
		QueueMessages: slots, QueueBytes: 1 << 20, TotalQueueBytes: 1 << 30, HoldUp: stall, HoldUpWindow: limit})
	w.arrive()
	sub := session.NewSub(w.r, message.Subscription{Filter: "t", QoS: 1}, topic.Subscription{Filter: "t"})
	w.r.Subscribe(w.conn, []*session.Sub{sub}, func(*session.Sub) bool { return true }, nil)
	for i := range 3 {
		who := &principal.Principal{Key: fmt.Sprint("user:p", i)}
		o := w.st.Open(session.Request{Principal: who, Rights: yes{}, ClientID: "p", Level: 4, Conn: i})
		w.pubs = append(w.pubs, &slowPublisher{sess: o.Session})
	}
	return w
}

func (w *slow) arrive() {
	w.conn, w.unread = &outlet{}, nil
	o := w.st.Open(session.Request{Principal: &principal.Principal{Key: "user:r"}, Rights: yes{}, ClientID: "r", Level: 4,
		Persistent: true, Expiry: time.Hour, Conn: w.conn, Allow: func(*session.Sub) bool { return true }})
	w.r = o.Session
	w.out = outbuf.New(sink{w.conn}, outbuf.Config{Limit: 1 << 20, Write: time.Hour, Stall: time.Millisecond})
	w.r.Attach(&session.Link{Out: w.out, Level: 4, Window: 4, Conn: w.conn})
}

func (w *slow) publish(p *slowPublisher) {
	if p.busy.Load() {
		return
	}
	p.busy.Store(true)
	w.sent++
	m := &message.Message{Topic: "t", QoS: 1, Payload: []byte("0"), Publisher: p.sess.Principal()}
	go func() {
		began := time.Now()
		w.p.Publish(plane.Source{Session: p.sess, Gen: w.st.Now()}, m, nil)
		p.took.Store(int64(time.Since(began)))
		p.busy.Store(false)
	}()
}

func (w *slow) ack() {
	if w.conn == nil || len(w.unread) == 0 {
		return
	}
	w.r.Acknowledged(w.conn, frame.PUBACK, frame.Ack{ID: w.unread[0]})
	w.unread = w.unread[1:]
	w.acked++
}

func (w *slow) leave() {
	if w.conn != nil {
		w.r.Detach(w.conn, time.Now())
		w.out.Abort()
		w.conn, w.absent = nil, true
	}
}

func (w *slow) busy() (n int) {
	for _, p := range w.pubs {
		if p.busy.Load() {
			n++
		}
	}
	return n
}

// check is rule 3: a receiver that reads loses nothing while it may slow its publishers
// down, for stall at once and for stall in any limit; one that is away slows nobody.
func (w *slow) check() (wrong string) {
	synctest.Wait()
	if w.conn != nil {
		_, ids, _ := w.conn.frames()
		w.unread = append(w.unread, ids...)
	}
	lost := w.r.Info().Lost
	for i, p := range w.pubs {
		if took := time.Duration(p.took.Load()); took > stall {
			return fmt.Sprintf("publisher %d waited %v", i, took)
		}
	}
	for len(w.waits) > 0 && time.Since(w.waits[0]) > limit-tick {
		w.waits = w.waits[1:]
	}
	switch within := time.Duration(len(w.waits)) * tick; {
	case within > stall:
		return fmt.Sprintf("it held publishers up for %v within %v", within, limit)
	case w.conn == nil && w.busy() > 0:
		return "somebody waits for one that is away"
	case w.busy() > 0 && w.r.Waiting()*2 <= slots:
		return fmt.Sprintf("somebody waits although only %d are queued", w.r.Waiting())
	case !w.absent && w.waited+tick < stall && lost != (session.Lost{}):
		return fmt.Sprintf("it lost %+v, and has slowed its publishers for %v only", lost, w.waited)
	case w.busy() == 0 && w.sent != w.acked+w.r.Waiting()+int(lost.Oldest+lost.Newest):
		return fmt.Sprintf("%d sent, %d acknowledged, %d wait, %+v lost", w.sent, w.acked, w.r.Waiting(), lost)
	}
	return ""
}

func (w *slow) step(r *rand.Rand, reads int) (wrong string) {
	switch kind := r.IntN(100); {
	case kind < 50:
		w.publish(w.pubs[r.IntN(len(w.pubs))])
	case kind < 50+reads:
		w.ack()
	case kind == 98:
		w.leave()
	case kind == 99:
		w.leave()
		w.arrive()
	default:
		for range r.IntN(10) {
			before := w.busy()
			time.Sleep(tick)
			synctest.Wait()
			if before > 0 && w.busy() > 0 {
				w.waited += tick
				w.waits = append(w.waits, time.Now())
			}
			if wrong = w.check(); wrong != "" {
				return wrong
			}
		}
	}
	return w.check()
}

// Rule 3 of docs/spec/semantics.md 6.4 for any interleaving of publishers, one receiver
// that reads fast, slowly or not at all, its take-overs and its absence.
func TestSlowReceiverAgainstModel(t *testing.T) {
	for seed := range uint64(120) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 3))
			w := newSlow()
			reads := int(seed % 45)
			for i := range 300 {
				if wrong := w.step(r, reads); wrong != "" {
					t.Errorf("seed %d, step %d: %s", seed, i, wrong)
					break
				}
			}
			w.leave()
			synctest.Wait()
		})
		if t.Failed() {
			return
		}
	}
}
