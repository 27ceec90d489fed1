package plane_test

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/broker/plane"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// yes allows everything and stores nothing.
type yes struct{}

func (yes) Open(*principal.Principal) session.Rights                     { return yes{} }
func (yes) Connect() message.Verdict                                     { return message.Verdict{Allowed: true} }
func (yes) Publish(string, *message.Message) message.Verdict             { return message.Verdict{Allowed: true} }
func (yes) Will(string) message.Verdict                                  { return message.Verdict{Allowed: true} }
func (yes) Subscribe(string) message.Verdict                             { return message.Verdict{Allowed: true} }
func (yes) Deliver(*message.Message) bool                                { return true }
func (yes) LoadSessions(func(message.StoredSession) error) error         { return nil }
func (yes) LoadQueue(string, func(message.StoredDelivery) error) error   { return nil }
func (yes) LoadRetained(func(*message.Message) error) error              { return nil }
func (yes) SaveSession(_ message.StoredSession, done func(error))        { call(done) }
func (yes) DeleteSession(_ string, done func(error))                     { call(done) }
func (yes) Receive(_ string, _ uint16, done func(error))                 { call(done) }
func (yes) Release(_ string, _ uint16, done func(error))                 { call(done) }
func (yes) Enqueue(_ string, _ message.StoredDelivery, done func(error)) { call(done) }
func (yes) Update(_ string, _ message.StoredDelivery, done func(error))  { call(done) }
func (yes) Dequeue(_ string, _ []uint64, done func(error))               { call(done) }
func (yes) Retain(_ *message.Message, done func(error))                  { call(done) }
func (yes) Unretain(_ string, done func(error))                          { call(done) }

func call(done func(error)) {
	if done != nil {
		done(nil)
	}
}

// sink is a connection whose writes always succeed.
type sink struct{ io.Writer }

func (sink) SetWriteDeadline(time.Time) error { return nil }
func (sink) Close() error                     { return nil }
func (sink) Abort() error                     { return nil }

type rig struct {
	p       *plane.Plane
	st      *session.Store
	dropped *atomic.Int64 // by the plane
}

func newRig() *rig { return newRigOn(yes{}) }

func newRigOn(v plane.Retained) *rig { return newRigWith(v, yes{}) }

func newRigWith(v plane.Retained, a session.Access) *rig {
	dropped := new(atomic.Int64)
	drop := func(string) { dropped.Add(1) }
	p := plane.New(plane.Config{
		Access: a, Retained: v, MaxRetained: 1000, MaxRetainedBytes: 1 << 20,
		Drop: drop, Denied: func() {}, Delivered: func() {},
	})
	return &rig{p, session.NewStore(session.Config{Sessions: yes{}, Queues: yes{}, Judge: p.Judge, Drop: drop, Index: p,
		QueueMessages: 1000, QueueBytes: 1 << 20, TotalQueueBytes: 1 << 30}), dropped}
}

func (r *rig) session(name string, w io.Writer) (*session.Session, *outbuf.Buffer, any) {
	return r.sessionWith(name, w, yes{})
}

func (r *rig) sessionWith(name string, w io.Writer, rights session.Rights) (*session.Session, *outbuf.Buffer, any) {
	conn := new(int)
	o := r.st.Open(session.Request{
		Principal: &principal.Principal{Key: "user:" + name}, Rights: rights,
		ClientID: name, Level: 4, Clean: true, Conn: conn,
	})
	b := outbuf.New(sink{w}, outbuf.Config{Limit: 1 << 30, Write: time.Minute, Stall: time.Millisecond})
	o.Session.Attach(&session.Link{Out: b, Level: 4, Window: 100, Conn: conn})
	return o.Session, b, conn
}

func (r *rig) subscribe(s *session.Session, conn any, filter string) *session.Sub {
	t, err := topic.SplitShared(filter)
	if err != nil {
		panic(err)
	}
	sub := session.NewSub(s, message.Subscription{Filter: filter}, t)
	s.Subscribe(conn, []*session.Sub{sub}, func(*session.Sub) bool { return true }, nil)
	return sub
}

// A QoS 0 publish to a subscriber allocates nothing besides what travels.
func TestPublishAllocatesNothing(t *testing.T) {
	r := newRig()
	s, b, conn := r.session("s", io.Discard)
	defer b.Abort()
	r.subscribe(s, conn, "devices/d/#")
	b.Cork() // so that the writer's goroutine does not run, whose allocations would be counted
	m := &message.Message{Topic: "devices/d/messages/events", Payload: make([]byte, 100), Publisher: &principal.Principal{}}
	for range 2000 {
		r.p.Publish(plane.Source{}, m, nil) // grow the buffer
	}
	b.Uncork()
	b.Cork()
	if n := testing.AllocsPerRun(1000, func() { r.p.Publish(plane.Source{}, m, nil) }); n > 0 {
		t.Errorf("%v allocations for each publish", n)
	}
	b.Uncork()
}

// asked allows everything, and calls a function when it is asked.
type asked struct {
	yes
	publish, deliver func(*message.Message)
}

func (a *asked) Open(*principal.Principal) session.Rights { return a }

func (a *asked) Publish(_ string, m *message.Message) message.Verdict {
	if a.publish != nil {
		a.publish(m)
	}
	return message.Verdict{Allowed: true}
}

func (a *asked) Deliver(m *message.Message) bool {
	if a.deliver != nil {
		a.deliver(m)
	}
	return true
}

func retained(topic, payload string) *message.Message {
	return &message.Message{Topic: topic, Payload: []byte(payload), QoS: 1, Retain: true, Publisher: &principal.Principal{Key: "user:p"}}
}

// A client that subscribes while a retained message is being published gets the message once, live or
// as retained, and is not left with the one that it replaced.
func TestSubscribeWhileRetaining(t *testing.T) {
	t.Parallel()
	for name, early := range map[string]bool{
		"reads before it is stored": true, "reads after it is stored": false, "subscribes before it is found": false,
	} {
		r := newRig()
		var out strings.Builder
		s, b, conn := r.session("s", &out)
		between := &asked{}
		other, ob, oc := r.sessionWith("other", io.Discard, between)
		defer ob.Abort()
		publish := func(topic, payload string) {
			if code, _ := r.p.Publish(plane.Source{}, retained(topic, payload), nil); code != message.Success {
				t.Fatalf("%s: %#x", name, code)
			}
		}
		publish("state/a", "old")
		r.subscribe(other, oc, "$share/g/state/b")
		var sub *session.Sub
		if name == "subscribes before it is found" {
			sub = r.subscribe(s, conn, "state/#")
		}
		between.deliver = func(*message.Message) { // the receivers of state/b have been found, and it is not stored
			between.deliver = nil
			if sub != nil {
				return
			}
			sub = r.subscribe(s, conn, "state/#")
			if early {
				r.p.Replay(plane.Source{}, sub, false)
			}
		}
		publish("state/b", "new")
		if !early {
			r.p.Replay(plane.Source{}, sub, false)
		}
		b.Close(nil, time.Minute)
		<-b.Done()
		if got := out.String(); strings.Count(got, "old") != 1 || strings.Count(got, "new") != 1 {
			t.Errorf("%s: %q", name, got)
		}
	}
}

// A client that is sent the retained messages while one of them is replaced or removed is left with
// the newer one, which it gets live.
func TestReplaceWhileReading(t *testing.T) {
	t.Parallel()
	for _, next := range []string{"new", ""} {
		during := &asked{}
		r := newRigWith(yes{}, during)
		var out strings.Builder
		s, b, conn := r.session("s", &out)
		r.p.Publish(plane.Source{}, retained("state", "old"), nil)
		sub := r.subscribe(s, conn, "state")
		during.publish = func(*message.Message) {
			during.publish = nil
			r.p.Publish(plane.Source{}, retained("state", next), nil)
		}
		r.p.Replay(plane.Source{}, sub, false)
		b.Close(nil, time.Minute)
		<-b.Done()
		if got := out.String(); strings.Contains(got, "old") || strings.Count(got, "state"+next) != 1 {
			t.Errorf("got %q", got)
		}
		if s.Waiting() != 0 {
			t.Errorf("%d wait", s.Waiting())
		}
	}
}

// After random subscribes, replacements, unsubscribes and ends of sessions, the receivers of a
// message are those that the oracle, a list of (session, filter), has.
func TestIndexAgainstList(t *testing.T) {
	t.Parallel()
	filters := []string{"#", "a/#", "a/+", "a/b", "+/b", "+", "a", "$share/g/a/b", "$share/h/#"}
	rapid.Check(t, func(t *rapid.T) {
		r := newRig()
		var out [4]strings.Builder
		var sess [4]*session.Session
		var bufs [4]*outbuf.Buffer
		var conns [4]any
		for i := range sess {
			sess[i], bufs[i], conns[i] = r.session(fmt.Sprint(i), &out[i])
		}
		have := map[[2]int]bool{}
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			who, f := rapid.IntRange(0, 3).Draw(t, "who"), rapid.IntRange(0, len(filters)-1).Draw(t, "filter")
			switch rapid.IntRange(0, 6).Draw(t, "step") {
			case 0:
				sess[who].Unsubscribe(conns[who], []string{filters[f]}, nil)
				delete(have, [2]int{who, f})
			case 1:
				r.st.EndIf(sess[who], time.Time{})
				bufs[who].Abort()
				sess[who], bufs[who], conns[who] = r.session(fmt.Sprint(who), &out[who])
				for k := range have {
					if k[0] == who {
						delete(have, k)
					}
				}
			default:
				r.subscribe(sess[who], conns[who], filters[f])
				have[[2]int{who, f}] = true
			}
		}
		name := rapid.SampledFrom([]string{"a/b", "a", "b", "a/c", "a/b/c"}).Draw(t, "name")
		want := map[int]bool{}
		groups := 0
		for f, filter := range filters {
			s, _ := topic.SplitShared(filter)
			members := 0
			for who := range sess {
				if have[[2]int{who, f}] && topic.Match(s.Filter, name) {
					if members++; s.Group == "" {
						want[who] = true
					}
				}
			}
			if s.Group != "" && members > 0 {
				groups++
			}
		}
		for i := range bufs {
			bufs[i].Cork()
		}
		r.p.Publish(plane.Source{}, &message.Message{Topic: name, Payload: []byte("!"), Publisher: &principal.Principal{}}, nil)
		copies := 0
		for i := range sess {
			n := bufs[i].Unsent() / (2 + 2 + len(name) + 1)
			copies += n
			if n == 0 && want[i] {
				t.Fatalf("session %d did not get %s", i, name)
			}
			bufs[i].Abort()
		}
		for i := range sess {
			r.st.EndIf(sess[i], time.Time{})
		}
		if n := r.p.Filters(); n != 0 {
			t.Fatalf("%d filters are left in the index of sessions that ended", n)
		}
		if copies != len(want)+groups {
			t.Fatalf("%d copies of %s, want %d and %d shared", copies, name, len(want), groups)
		}
	})
}

// Retained messages: limits in count and bytes, replacement and removal.
func TestRetainedLimits(t *testing.T) {
	t.Parallel()
	r := newRig()
	put := r.retain
	kept := 0
	for i := range 1001 { // each stays below what one publisher may have
		who := []string{"user:x", "user:x", "user:y", "user:z", "user:z"}[i/250]
		if put(who, fmt.Sprint("t/", i), 10) {
			kept++
		}
	}
	if kept != 1000 || put("user:z", "t/1000", 10) {
		t.Error("the count is not limited")
	}
	if !put("user:x", "t/0", 20) || put("user:x", "t/1", 1<<20) {
		t.Error("replacing")
	}
	if n, _ := r.p.Retained(); n != 1000 {
		t.Errorf("%d", n)
	}
	if n := r.p.ForgetRetained(by("user:nobody")); n != 0 {
		t.Errorf("forgot %d of somebody else", n)
	}
	for who, want := range map[string]int{"user:x": 500, "user:y": 250, "user:z": 250} {
		if n := r.p.ForgetRetained(by(who)); n != want {
			t.Errorf("forgot %d of %s", n, who)
		}
	}
	if n, bytes := r.p.Retained(); n != 0 || bytes != 0 {
		t.Errorf("left %d, %d bytes", n, bytes)
	}
}

func by(key string) func(*principal.Principal) bool {
	return func(p *principal.Principal) bool { return p.Key == key }
}

// retain publishes a retained message and tells whether it is kept.
func (r *rig) retain(who, name string, size int) bool {
	dropped := r.dropped.Load()
	r.p.Publish(plane.Source{}, &message.Message{Topic: name, Payload: make([]byte, size), Retain: true,
		Publisher: &principal.Principal{Key: who}}, nil)
	return r.dropped.Load() == dropped
}

// One publisher cannot use up the store for the others, by count or by size. It may replace and
// remove its own messages, and removing one gives its part back.
func TestRetainedShareOfOnePublisher(t *testing.T) {
	t.Parallel()
	for _, size := range []int{10, 8 << 10} { // 1000 messages, or 1 MiB
		r := newRig()
		most := min(500, (1<<19)/(size+256+len("t/00000")))
		n := 0
		for r.retain("user:x", fmt.Sprintf("t/%05d", n), size) {
			n++
		}
		if n != most {
			t.Errorf("%d of %d bytes were kept of one publisher, want %d", n, size, most)
		}
		if !r.retain("user:y", "y/1", size) {
			t.Error("another publisher finds no room")
		}
		if !r.retain("user:x", "t/00000", size) || !r.retain("user:x", "t/00000", size-1) {
			t.Error("its own message cannot be replaced")
		}
		if r.retain("user:x", "y/1", size) {
			t.Error("it takes over what another one keeps")
		}
		for i := range n {
			if !r.retain("user:x", fmt.Sprintf("t/%05d", i), 0) {
				t.Error("its own message cannot be removed")
			}
		}
		for i := range most / 2 {
			if !r.retain("user:x", fmt.Sprintf("t/%05d", i), size) {
				t.Fatalf("refused at %d: its share was not given back", i)
			}
		}
	}
}

// last is a Retained that notes for each topic which message it was told last to store.
type last struct {
	yes
	mu   sync.Mutex
	kept map[string]*message.Message
}

func (l *last) Retain(m *message.Message, done func(error)) {
	l.mu.Lock()
	l.kept[m.Topic] = m
	l.mu.Unlock()
	call(done)
}

func (l *last) Unretain(topic string, done func(error)) {
	l.mu.Lock()
	delete(l.kept, topic)
	l.mu.Unlock()
	call(done)
}

// If several publishers publish to one topic at the same time, the stored message is the one that is
// retained in memory, so that a restart changes nothing.
func TestRetainedIsStoredInOrder(t *testing.T) {
	t.Parallel()
	v := &last{kept: map[string]*message.Message{}}
	r := newRigOn(v)
	for round := range 3000 {
		var both sync.WaitGroup
		for _, payload := range []string{"a", "b", ""} {
			both.Go(func() {
				m := &message.Message{Topic: "t", Payload: []byte(payload), Retain: true, Publisher: &principal.Principal{Key: "user:x"}}
				r.p.Publish(plane.Source{}, m, nil)
			})
		}
		both.Wait()
		if got, want := v.kept["t"], r.p.RetainedAt("t"); got != want {
			t.Fatalf("round %d: %p is stored, %p is retained", round, got, want)
		}
	}
}

// A message that a member of a share left unacknowledged and that has expired since goes to no other
// member, whatever the QoS of its subscription.
func TestExpiredIsNotHandedOn(t *testing.T) {
	t.Parallel()
	r := newRig()
	var out strings.Builder
	s, b, conn := r.session("s", &out)
	gone := r.subscribe(s, conn, "$share/g/a") // with QoS 0
	for payload, expires := range map[string]time.Time{
		"late": time.Now().Add(-time.Second), "soon": time.Now().Add(time.Hour), "never": {},
	} {
		m := retained("a", payload)
		m.Expires = expires
		r.p.Redeliver(gone, m)
	}
	b.Close(nil, time.Minute)
	<-b.Done()
	if got := out.String(); strings.Contains(got, "late") || !strings.Contains(got, "soon") || !strings.Contains(got, "never") {
		t.Errorf("got %q", got)
	}
}
