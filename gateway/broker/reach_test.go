package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/broker/outbuf"
	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// A recheck that searches for what is concerned takes exactly what one takes that looks at everything:
// over random principals, grants, sessions, deliveries, take-overs and revocations, two brokers are led
// through the same life, and differ in that only.
func TestRecheckFindsWhatAllWouldFind(t *testing.T) {
	t.Parallel()
	var seen Report
	for seed := range uint64(200) {
		synctest.Test(t, func(t *testing.T) {
			searching, looking := newWorld(t, seed, false), newWorld(t, seed, true)
			for i := range 60 {
				searching.step()
				looking.step()
				if a, b := searching.outcome(), looking.outcome(); a != b {
					t.Fatalf("seed %d, step %d: a search led to\n%s\nlooking at everything to\n%s", seed, i, a, b)
				}
			}
			seen.add(searching.total)
			searching.close()
			looking.close()
		})
	}
	t.Logf("%+v", seen)
	if seen.Cut == 0 || seen.Suspended == 0 || seen.Resumed == 0 || seen.Disconnected == 0 || seen.Sessions == 0 {
		t.Errorf("not everything happened: %+v", seen)
	}
}

func (r *Report) add(o Report) {
	r.Sessions += o.Sessions
	r.Disconnected += o.Disconnected
	r.Suspended += o.Suspended
	r.Resumed += o.Resumed
	r.Cut += o.Cut
}

// world is a broker without sockets, whose clients read only when they are let.
type world struct {
	t       *testing.T
	r       *rand.Rand
	b       *Broker
	all     bool // recheck everything
	people  []*principal.Principal
	granted map[grant]bool
	clients []*client
	last    Report
	total   Report
}

// grant allows the holders of an identity, or an Entra object, everything on a topic. The topic
// connect stands for the right to be connected.
type grant struct {
	identity model.Identity
	object   space.ID
	topic    string
}

var worldTopics = []string{"connect", "a", "b"}

// client is a connection of the world, and what its kernel got.
type client struct {
	*conn
	got bytes.Buffer
}

func (c *client) Write(p []byte) (int, error)      { return c.got.Write(p) }
func (c *client) SetWriteDeadline(time.Time) error { return nil }
func (c *client) Close() error                     { return nil }
func (c *client) Abort() error                     { return nil }

func newWorld(t *testing.T, seed uint64, all bool) *world {
	w := &world{t: t, r: rand.New(rand.NewPCG(seed, 3)), all: all, granted: map[grant]bool{}}
	var err error
	w.b, err = New(Options{Authenticator: anybody{}, Access: w, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		p := &principal.Principal{Key: fmt.Sprint("user:", i)}
		for range w.r.IntN(3) {
			p.Subject.Identities = append(p.Subject.Identities, w.identity())
		}
		if w.r.IntN(3) == 0 {
			p.Subject.Object = w.object()
		}
		w.people = append(w.people, p)
	}
	for range 25 {
		w.granted[w.grant()] = true
	}
	return w
}

func (w *world) identity() model.Identity {
	return model.Identity{Kind: model.DeviceID, Object: space.ID{byte(1 + w.r.IntN(5))}}
}

func (w *world) object() space.ID { return space.ID{9, byte(w.r.IntN(2))} }

func (w *world) grant() grant {
	g := grant{topic: worldTopics[w.r.IntN(len(worldTopics))]}
	if w.r.IntN(4) == 0 {
		g.object = w.object()
	} else {
		g.identity = w.identity()
	}
	return g
}

// Open implements Access.
func (w *world) Open(p *principal.Principal) Rights { return worldRights{w, p} }

type worldRights struct {
	w   *world
	who *principal.Principal
}

func (r worldRights) may(name string) bool {
	s := &r.who.Subject
	return !s.Object.IsZero() && r.w.granted[grant{object: s.Object, topic: name}] ||
		slices.ContainsFunc(s.Identities, func(i model.Identity) bool { return r.w.granted[grant{identity: i, topic: name}] })
}

func (r worldRights) Connect() message.Verdict { return message.Verdict{Allowed: r.may("connect")} }
func (r worldRights) Publish(name string, _ *message.Message) message.Verdict {
	return message.Verdict{Allowed: r.may(name)}
}
func (r worldRights) Will(name string) message.Verdict      { return r.Publish(name, nil) }
func (r worldRights) Subscribe(name string) message.Verdict { return r.Publish(name, nil) }
func (r worldRights) Deliver(m *message.Message) bool       { return r.may(m.Topic) }

// step does the next thing; which one depends on the seed only.
func (w *world) step() {
	switch n := w.r.IntN(12); {
	case n < 2:
		w.connect()
	case n < 4:
		w.subscribe()
	case n < 8:
		w.publish()
	case n == 8:
		w.drain()
	case n == 9:
		w.renew()
	default:
		w.change()
	}
	synctest.Wait()
}

// connect opens one of few sessions, and so often takes one over.
func (w *world) connect() {
	who, id, clean := w.someone(), fmt.Sprint("c", w.r.IntN(2)), w.r.IntN(3) == 0
	near, far := net.Pipe()
	w.t.Cleanup(func() { near.Close(); far.Close() })
	c := &client{conn: &conn{b: w.b, ended: make(chan struct{}), sock: &socket{Conn: near}, level: 5}}
	c.out = outbuf.New(c, outbuf.Config{Limit: 1 << 20, Reserve: 1 << 20, Write: time.Second, Stall: time.Second})
	c.out.Cork()
	c.hello.ClientID = id
	p := &proof{who: who, rights: w.Open(who)}
	o := w.b.store.Open(session.Request{
		Principal:  who,
		Rights:     p.rights,
		ClientID:   id,
		Level:      5,
		Clean:      clean,
		Persistent: !clean,
		Expiry:     time.Hour,
		Conn:       c.conn,
		Allow:      func(s *session.Sub) bool { return p.rights.Subscribe(s.Filter).Allowed },
	})
	c.sess = o.Session
	c.proof.Store(p)
	w.b.enter(c.conn)
	c.sess.Attach(&session.Link{Out: c.out, Level: 5, Window: 3, Conn: c.conn})
	w.clients = append(w.clients, c)
}

func (w *world) someone() *principal.Principal { return w.people[w.r.IntN(len(w.people))] }

func (w *world) subscribe() {
	name, qos := worldTopics[1+w.r.IntN(2)], byte(w.r.IntN(2))
	if len(w.clients) == 0 {
		return
	}
	c := w.clients[w.r.IntN(len(w.clients))]
	sub := session.NewSub(c.sess, message.Subscription{Filter: name, QoS: qos}, topic.Subscription{Filter: name})
	c.sess.Subscribe(c.conn, []*session.Sub{sub}, func(s *session.Sub) bool { return c.sess.Asks(s.Filter).Allowed }, nil)
}

// publish delivers to every session that could subscribe, as the plane would.
func (w *world) publish() {
	m := &message.Message{Topic: worldTopics[1+w.r.IntN(2)], Publisher: w.someone(), QoS: byte(w.r.IntN(2)), Payload: []byte{byte(w.r.Int())}}
	if !w.Open(m.Publisher).Publish(m.Topic, m).Allowed {
		return
	}
	gen := w.b.store.Now()
	for _, s := range w.b.store.All() {
		all, _ := s.Filters()
		if !slices.Contains(all, m.Topic) || m.QoS > 0 && !s.Reserve(m) {
			continue
		}
		sub := session.NewSub(s, message.Subscription{Filter: m.Topic, QoS: m.QoS}, topic.Subscription{Filter: m.Topic})
		s.Deliver(session.Delivery{Message: m, Sub: sub, QoS: m.QoS, Gen: gen}, nil)
	}
}

// drain lets one client read.
func (w *world) drain() {
	if len(w.clients) > 0 {
		c := w.clients[w.r.IntN(len(w.clients))]
		c.out.Uncork()
		synctest.Wait()
		c.out.Cork()
	}
}

// renew gives the owner of a session other identities, as AUTH may.
func (w *world) renew() {
	ids := []model.Identity{w.identity()}
	if len(w.clients) == 0 {
		return
	}
	c := w.clients[w.r.IntN(len(w.clients))]
	who := *c.proof.Load().who
	who.Subject.Identities = ids
	p := &proof{who: &who, rights: w.Open(&who)}
	if c.sess.Renew(c.conn, p.who, p.rights) {
		c.proof.Store(p)
	}
}

// change grants or revokes something, and has it rechecked.
func (w *world) change() {
	var who principal.Concerned
	touched := map[grant]bool{}
	for range 1 + w.r.IntN(2) {
		g := w.grant()
		w.granted[g] = !w.granted[g]
		g.topic = ""
		touched[g] = true
		if g.object.IsZero() {
			who.Identities = append(who.Identities, g.identity)
		} else {
			who.Entra = true
		}
	}
	who.Everyone = w.all
	who.Has = func(p *principal.Principal) bool {
		return touched[grant{object: p.Subject.Object}] && !p.Subject.Object.IsZero() ||
			slices.ContainsFunc(p.Subject.Identities, func(i model.Identity) bool { return touched[grant{identity: i}] })
	}
	r, err := w.b.Recheck(context.Background(), who)
	if err != nil {
		w.t.Fatal(err)
	}
	w.last = r
	w.total.add(r)
	synctest.Wait()
	for _, c := range w.clients { // as teardown does
		if c.isOver() {
			c.sess.Detach(c.conn, time.Now())
			w.b.store.Closed(c.conn)
		}
	}
}

// outcome is what can be seen of the world.
func (w *world) outcome() string {
	r := w.last
	var out bytes.Buffer
	fmt.Fprintf(&out, "touched %d, ended %d, suspended %d, resumed %d, cut %d\n", r.Sessions, r.Disconnected, r.Suspended, r.Resumed, r.Cut)
	for i, c := range w.clients {
		_, suspended := c.sess.Filters()
		fmt.Fprintf(&out, "client %d of %s: over %v, suspended %v, waiting %d, unsent %d, got %x\n",
			i, c.sess.Key, c.isOver(), suspended, c.sess.Waiting(), c.out.Unsent(), c.got.Bytes())
	}
	return out.String()
}

func (w *world) close() {
	for _, c := range w.clients {
		c.out.Abort()
	}
	w.b.clock.stop()
}
