package plane_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
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

// member is one session of a share, with what the model knows of it.
type member struct {
	name  string
	sess  *session.Session
	conn  *outlet // nil: it is away
	out   *outbuf.Buffer
	ids   []uint16 // of what it has not acknowledged
	acked int
}

// party is a share of three members, each with a persistent session.
type party struct {
	p       *plane.Plane
	st      *session.Store
	members []*member
	sent    int
	dropped map[string]int
	got     map[int]string // number → the member that received it
	steps   []string
}

const partySize = 4 // deliveries of one member

func newParty() *party {
	w := &party{dropped: map[string]int{}, got: map[int]string{}}
	none := func() {}
	drop := func(reason string) { w.dropped[reason]++ }
	w.p = plane.New(plane.Config{Access: yes{}, Retained: yes{}, MaxRetained: 10, MaxRetainedBytes: 1 << 20,
		Drop: drop, Denied: none, Delivered: none})
	w.st = session.NewStore(session.Config{Sessions: yes{}, Queues: yes{}, Judge: w.p.Judge, Drop: drop, Index: w.p,
		QueueMessages: partySize, QueueBytes: 1 << 20, TotalQueueBytes: 1 << 30})
	for i := range 3 {
		m := &member{name: fmt.Sprint("m", i)}
		w.members = append(w.members, m)
		w.arrive(m)
	}
	return w
}

func (w *party) arrive(m *member) {
	old := m.out
	m.conn = &outlet{}
	o := w.st.Open(session.Request{Principal: &principal.Principal{Key: "user:" + m.name}, Rights: yes{}, ClientID: m.name, Level: 4,
		Persistent: true, Expiry: time.Hour, Conn: m.conn, Allow: func(*session.Sub) bool { return true }})
	if old != nil {
		old.Abort()
	}
	m.sess, m.ids = o.Session, nil
	m.out = outbuf.New(sink{m.conn}, outbuf.Config{Limit: 1 << 20, Write: time.Hour, Stall: time.Hour})
	m.sess.Attach(&session.Link{Out: m.out, Level: 4, Window: 2, Conn: m.conn})
	const filter = "$share/g/t"
	sub := session.NewSub(m.sess, message.Subscription{Filter: filter, QoS: 1}, topic.Subscription{Filter: "t", Group: "g"})
	m.sess.Subscribe(m.conn, []*session.Sub{sub}, func(*session.Sub) bool { return true }, nil)
}

func (w *party) leave(m *member) {
	if m.conn == nil {
		return
	}
	m.sess.Detach(m.conn, time.Now())
	m.out.Abort()
	m.conn, m.ids = nil, nil
}

func (w *party) publish() {
	w.sent++
	m := &message.Message{
		Topic:     "t",
		QoS:       1,
		Payload:   []byte(strconv.Itoa(w.sent)),
		Publisher: &principal.Principal{Key: "user:p"},
	}
	w.p.Publish(plane.Source{Gen: w.st.Now()}, m, nil)
}

func (w *party) waiting() (n int) {
	for _, m := range w.members {
		n += m.sess.Waiting()
	}
	return n
}

func (w *party) lost() (n int) {
	for _, m := range w.members {
		l := m.sess.Info().Lost
		n += int(l.Oldest + l.Newest)
	}
	return n
}

func (w *party) step(r *rand.Rand) (wrong string) {
	m := w.members[r.IntN(len(w.members))]
	var what string
	switch kind := r.IntN(20); {
	case kind < 10:
		what = "publish"
		full, before := w.waiting() == len(w.members)*partySize, w.lost()
		w.publish()
		synctest.Wait()
		if lost := w.lost() - before; lost > 1 || lost == 1 && !full {
			wrong = fmt.Sprintf("%d lost by one publish, although %d of %d wait", lost, w.waiting(), len(w.members)*partySize)
		}
	case kind < 16:
		what = m.name + " acknowledges"
		if len(m.ids) > 0 {
			m.sess.Acknowledged(m.conn, frame.PUBACK, frame.Ack{ID: m.ids[0]})
			m.ids = m.ids[1:]
			m.acked++
		}
	case kind < 18:
		what = m.name + " leaves"
		w.leave(m)
	default:
		what = m.name + " arrives"
		w.arrive(m)
	}
	w.steps = append(w.steps, what)
	return cmp.Or(wrong, w.check())
}

// check: each message is with exactly one member, or was lost by one, and counted.
func (w *party) check() (wrong string) {
	synctest.Wait()
	acked := 0
	for _, m := range w.members {
		acked += m.acked
		if m.sess.Waiting() > partySize {
			return fmt.Sprintf("%d wait for %s", m.sess.Waiting(), m.name)
		}
		if m.conn == nil {
			continue
		}
		numbers, ids, _ := m.conn.frames()
		for _, n := range numbers {
			if by := w.got[n]; by != "" && by != m.name {
				return fmt.Sprintf("%s got %d, which %s has had", m.name, n, by)
			}
			w.got[n] = m.name
		}
		m.ids = append(m.ids, ids...)
	}
	if sum := acked + w.waiting() + w.lost(); w.sent != sum || len(w.dropped) > 0 && w.lost() == 0 {
		return fmt.Sprintf("%d sent, %d acknowledged, %d wait, %d lost, dropped %v", w.sent, acked, w.waiting(), w.lost(), w.dropped)
	}
	return ""
}

// Rule 2 of docs/spec/semantics.md 6.4 for a share: whatever its members do, each message goes to
// exactly one of them, and none is lost while another member has capacity.
func TestShareAgainstModel(t *testing.T) {
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 2))
			w := newParty()
			for i := range 200 {
				if wrong := w.step(r); wrong != "" {
					t.Errorf("seed %d, step %d: %s, after %s", seed, i, wrong, strings.Join(w.steps[max(0, len(w.steps)-20):], ", "))
					break
				}
			}
			for _, m := range w.members {
				w.leave(m)
			}
			synctest.Wait()
		})
		if t.Failed() {
			return
		}
	}
}
