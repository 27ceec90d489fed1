package broker_test

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// policy is a small Access: filters that each principal may publish to,
// subscribe to and receive. It changes while things run.
type policy struct {
	mu      sync.Mutex
	publish map[string][]string // by principal key; "*" for everybody
	read    map[string][]string
	banned  map[string]bool
	expired map[string]bool
	rolled  map[string]bool // whose key is not accepted any more
	route   func(name string) message.Route
	judged  func(filter string) // runs after a filter was judged, before anybody acts on it
}

func open() *policy {
	return &policy{
		publish: map[string][]string{"*": {"#", "$iothub/#"}},
		read:    map[string][]string{"*": {"#", "$iothub/#"}},
		banned:  map[string]bool{},
		expired: map[string]bool{},
		rolled:  map[string]bool{},
	}
}

func (p *policy) change(f func(*policy)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f(p)
}

func (p *policy) Open(who *principal.Principal) broker.Rights { return &rights{p, who.Key} }

type rights struct {
	p   *policy
	key string
}

func (r *rights) any(of map[string][]string, ok func(filter string) bool) bool {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.p.banned[r.key] {
		return false
	}
	list, own := of[r.key]
	if !own {
		list = of["*"]
	}
	for _, f := range list {
		if ok(f) {
			return true
		}
	}
	return false
}

func verdict(ok bool) message.Verdict {
	if ok {
		return message.Verdict{Allowed: true, Reason: "granted"}
	}
	return message.Verdict{Reason: "no-assignment", Code: message.NotAuthorized}
}

func (r *rights) Connect() message.Verdict {
	r.p.mu.Lock()
	defer r.p.mu.Unlock()
	if r.p.expired[r.key] {
		return message.Verdict{Reason: "expired", Code: message.NotAuthorized}
	}
	if r.p.rolled[r.key] {
		return message.Verdict{Reason: "wrong-key", Code: message.NotAuthorized}
	}
	return verdict(!r.p.banned[r.key])
}

func (r *rights) Publish(name string, _ *message.Message) message.Verdict {
	v := verdict(r.any(r.p.publish, func(f string) bool { return topic.Match(f, name) }))
	if v.Allowed && r.p.route != nil {
		v.Route = r.p.route(name)
	}
	return v
}

func (r *rights) Will(name string) message.Verdict { return r.Publish(name, nil) }

func (r *rights) Subscribe(filter string) message.Verdict {
	s, err := topic.SplitShared(filter)
	v := verdict(err == nil && r.any(r.p.read, func(f string) bool { return topic.Contains(f, s.Filter) }))
	v.Filterable = err == nil && !topic.IsExact(s.Filter)
	if r.p.judged != nil {
		r.p.judged(filter)
	}
	return v
}

func (r *rights) Deliver(m *message.Message) bool {
	return r.any(r.p.read, func(f string) bool { return topic.Match(f, m.Topic) })
}

// names is an Authenticator that accepts every user name: "alice" is user:alice.
// The password "wrong" is refused, "panic" panics, and AUTH data is a user name.
type names struct {
	expires atomic.Pointer[time.Time]
	last    atomic.Pointer[principal.Credentials]
}

func (n *names) Authenticate(_ context.Context, c *principal.Credentials) (*principal.Principal, error) {
	kept := *c
	n.last.Store(&kept)
	user := c.Username
	if c.AuthMethod != "" {
		user = string(c.AuthData)
	}
	switch {
	case string(c.Password) == "wrong":
		return nil, &principal.Refusal{Code: message.BadUserNameOrPassword, Reason: "wrong-key"}
	case string(c.Password) == "panic":
		panic("authenticator")
	case string(c.Password) == "broken":
		return nil, errors.New("something else")
	case user == "":
		user = "nobody"
	}
	p := &principal.Principal{Kind: principal.User, Key: "user:" + user, Name: user}
	if t := n.expires.Load(); t != nil {
		p.Expires = *t
	}
	return p, nil
}

// trail is an Auditor.
type trail struct {
	mu      sync.Mutex
	records []message.AuditRecord
}

func (t *trail) Audit(r message.AuditRecord) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.records = append(t.records, r)
}

func (t *trail) has(event, reason string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.records {
		if r.Event == event && r.Reason == reason {
			return true
		}
	}
	return false
}

// house is a running broker.
type house struct {
	*broker.Broker
	t        *testing.T
	addr     string
	policy   *policy
	names    *names
	trail    *trail
	log      *lines
	stop     func()
	pipe     *pipes                              // instead of addr, in a test without real time
	via      func(addr string) (net.Conn, error) // instead of TCP
	tripwire uint64                              // expected
	panics   uint64
}

type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start runs a broker on a loopback port until the test ends.
func start(t *testing.T, change ...func(*broker.Options)) *house {
	t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return run(t, &house{addr: nl.Addr().String()}, nl, change)
}

func run(t *testing.T, h *house, nl net.Listener, change []func(*broker.Options)) *house {
	t.Helper()
	h.t, h.policy, h.names, h.trail, h.log = t, open(), &names{}, &trail{}, &lines{}
	o := broker.Options{Authenticator: h.names, Access: h.policy, Auditor: h.trail,
		Listeners: []broker.Listener{{Name: "test", Listener: nl}},
		Log:       slog.New(slog.NewTextHandler(h.log, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	for _, f := range change {
		f(&o)
	}
	var err error
	if h.Broker, err = broker.New(o); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Run(ctx) }()
	select {
	case <-h.Ready():
	case err := <-done:
		t.Fatalf("run: %v", err)
	}
	h.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(rawclient.Wait):
			stacks := make([]byte, 1<<20)
			t.Errorf("the broker does not stop:\n%s", stacks[:runtime.Stack(stacks, true)])
		}
	})
	t.Cleanup(func() {
		h.stop()
		st := h.Stats()
		if st.Tripwire != h.tripwire {
			t.Errorf("the embedded library touched %d messages", st.Tripwire)
		}
		if st.Panics != h.panics {
			t.Errorf("%d panics, expected %d:\n%s", st.Panics, h.panics, h.log)
		}
	})
	return h
}

// Recheck looks at everything; TestRecheckFindsWhatAllWouldFind compares it with a search.
func (h *house) Recheck(ctx context.Context, match func(*principal.Principal) bool) (broker.Report, error) {
	return h.Broker.Recheck(ctx, principal.Concerned{Has: match, Everyone: true})
}

func (h *house) dial() *rawclient.Client {
	h.t.Helper()
	nc, err := h.open()
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = nc.Close() })
	return &rawclient.Client{T: h.t, Conn: nc}
}

func (h *house) open() (net.Conn, error) {
	if h.pipe != nil {
		return h.pipe.dial()
	}
	if h.via != nil {
		return h.via(h.addr)
	}
	return net.Dial("tcp", h.addr)
}

// client connects as a user, clean, with the user name as client id.
func (h *house) client(level byte, user string) *rawclient.Client {
	h.t.Helper()
	return h.connect(rawclient.Connect{Level: level, ID: user, User: user})
}

func (h *house) connect(o rawclient.Connect) *rawclient.Client {
	h.t.Helper()
	c := h.dial()
	if p := c.Connect(o); p.Body[1] != 0 {
		h.t.Fatalf("refused: %s", p)
	}
	return c
}

// unprotected is client over a connection that broker.ServeUnprotected serves.
func (h *house) unprotected(level byte, user string) *rawclient.Client {
	h.t.Helper()
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	defer func() { _ = nl.Close() }()
	near, err := net.Dial("tcp", nl.Addr().String())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = near.Close() })
	far, err := nl.Accept()
	if err != nil {
		h.t.Fatal(err)
	}
	h.ServeUnprotected(far)
	c := &rawclient.Client{T: h.t, Conn: near}
	if p := c.Connect(rawclient.Connect{Level: level, ID: user, User: user}); p.Body[1] != 0 {
		h.t.Fatalf("refused: %s", p)
	}
	return c
}

// named matches one principal.
func named(key string) func(*principal.Principal) bool {
	return func(p *principal.Principal) bool { return p.Key == key }
}

// until polls until a condition holds that another goroutine is about to bring about.
func (h *house) until(what string, f func() bool) {
	h.t.Helper()
	for end := time.Now().Add(rawclient.Wait); !f(); {
		if time.Now().After(end) {
			h.t.Fatalf("never: %s", what)
		}
		time.Sleep(time.Millisecond)
	}
}

// matrix runs f for each protocol level and QoS.
func matrix(t *testing.T, f func(t *testing.T, level, qos byte)) {
	for _, level := range []byte{4, 5} {
		for qos := range byte(3) {
			t.Run("v311 v5  "[(level-4)*5:][:4]+" qos"+string('0'+rune(qos)), func(t *testing.T) {
				t.Parallel()
				f(t, level, qos)
			})
		}
	}
}

func levels(t *testing.T, f func(t *testing.T, level byte)) {
	for _, level := range []byte{4, 5} {
		t.Run("level "+string('0'+rune(level)), func(t *testing.T) {
			t.Parallel()
			f(t, level)
		})
	}
}

// finish does the publisher's side of the acknowledgement of a publish that is
// accepted.
func finish(c *rawclient.Client, qos byte, id uint16) {
	c.T.Helper()
	accepted := func(kind byte) {
		c.T.Helper()
		if p := c.ExpectType(kind); len(p.Body) > 2 && p.Body[2] >= 0x80 {
			c.T.Fatalf("publish %d is refused: %s", id, p)
		}
	}
	switch qos {
	case 1:
		accepted(4)
	case 2:
		accepted(5)
		c.Ack(6, id)
		c.ExpectType(7)
	}
}

// take does the receiver's side of the acknowledgement of a delivery.
func take(c *rawclient.Client, d rawclient.Delivery) {
	c.T.Helper()
	switch d.QoS {
	case 1:
		c.Ack(4, d.ID)
	case 2:
		c.Ack(5, d.ID)
		c.ExpectType(6)
		c.Ack(7, d.ID)
	}
}

func TestPublishSubscribe(t *testing.T) {
	t.Parallel()
	matrix(t, func(t *testing.T, level, qos byte) {
		h := start(t)
		sub, pub := h.client(level, "sub"), h.client(level, "pub")
		if code := sub.Subscribe(1, "a/+", qos); code != qos {
			t.Fatalf("granted %d", code)
		}
		for i := range 5 {
			pub.Publish("a/b", "payload"+string('0'+rune(i)), qos, uint16(i+1), 0)
			finish(pub, qos, uint16(i+1))
			d := sub.ExpectPublish()
			if d.Topic != "a/b" || d.Payload != "payload"+string('0'+rune(i)) || d.QoS != qos || d.Dup || d.Retain {
				t.Fatalf("got %+v", d)
			}
			take(sub, d)
		}
		sub.ExpectSilence()
		sub.Put(rawclient.Frame(0xa2, []byte{0, 9}, rawclient.Props(level), rawclient.Text("a/+"))...)
		sub.ExpectType(11)
		pub.Publish("a/b", "x", qos, 99, 0)
		finish(pub, qos, 99)
		sub.ExpectSilence()
		sub.Put(0xe0, 0)
		sub.ExpectClosed()
	})
}
