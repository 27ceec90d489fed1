package load

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Exchange is a run of publishers and subscribers. Every publisher sends to
// one topic, and every subscriber is to receive all of them.
type Exchange struct {
	Target      Target
	Publishers  []Client
	Subscribers []Client
	Beside      []Beside // subscribers that are not accounted for

	Topic  func(n int, c Client) string // of the n-th publisher
	Filter string                       // of each subscriber
	// Reply makes it request and reply: the subscribers send back what they
	// receive, to this topic, and each publisher receives what is its own. Then
	// the messages accounted for are the replies.
	Reply func(n int, c Client) string

	QoS, SubscribeQoS byte
	Payload           int     // bytes, at least StampSize
	Window            int     // of one publisher: not acknowledged yet, at QoS 1 and 2
	Lead              int     // of one publisher: not received yet by every subscriber; 0: no limit
	Rate              float64 // messages a second of all publishers together; 0: no limit

	// A run ends when each publisher has sent Count, or after Duration,
	// whichever is first and not 0. Without publishers Count is what the
	// subscribers receive in all. What is under way then may take until nothing
	// has come for Drain.
	Count    uint32
	Duration time.Duration
	Warmup   time.Duration // left out of rates and latencies, not of the account
	Drain    time.Duration

	// Progress is called several times a second with what has happened so far, and Begun
	// and Ended just before the first publish and after the last receipt; each may be nil.
	Progress     func(Progress)
	Begun, Ended func()
}

// Beside is one more subscriber, with a session that outlives its connection.
type Beside struct {
	Client Client
	Habit  Habit
	Away   bool // it subscribes and disconnects before the run
}

// Progress is what has happened so far.
type Progress struct {
	Elapsed                time.Duration
	Sent, Acked, Received  int64
	Done                   float64 // 0 to 1; below 0: nobody knows the end
	Connected, ToBeReached int     // while the clients connect
}

// run is an Exchange under way.
type run struct {
	*Exchange
	id        uint32
	pubs      []*publisher
	subs      []*subscriber // accounted for
	echoes    []*echo
	clients   []*client // all that are connected
	receivers int64     // how many receive what one publisher sends

	ack, delivery recorder
	ended         sync.WaitGroup // of the clients

	started, stopped atomic.Bool
	began            int64        // set before started
	mark             atomic.Int64 // latencies count from here on
}

// Run connects everybody, runs, and accounts. It fails when a client cannot
// connect or subscribe; what happens after that is in the Result.
func (x *Exchange) Run(ctx context.Context) (*Result, error) {
	if x.Payload < StampSize {
		return nil, fmt.Errorf("a payload of %d bytes is too small: a message that is accounted for has at least %d", x.Payload, StampSize)
	}
	r := &run{Exchange: x, id: rand.Uint32()}
	defer func() {
		for _, c := range r.clients {
			c.l.leave()
		}
		r.ended.Wait()
		r.forget()
	}()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if x.Begun != nil {
		x.Begun()
	}
	return r.conduct(ctx), nil
}

// prepare connects the receivers first, so that none of them misses anything.
func (r *run) prepare(ctx context.Context) error {
	r.receivers = int64(len(r.Subscribers))
	if r.Reply != nil {
		r.receivers = 1
	}
	for n, who := range r.Publishers {
		r.pubs = append(r.pubs, &publisher{client: &client{x: r, n: n, who: who}, refusals: map[byte]int64{}})
	}
	var all []*client
	for n, who := range r.Subscribers {
		all = append(all, r.receiver(n, who))
	}
	for _, b := range r.Beside {
		c := &client{x: r, n: len(r.Publishers) + len(all), who: b.Client, kept: true}
		c.sub = r.subscriber(c, r.Filter, -1)
		c.sub.habit = b.Habit
		all = append(all, c)
	}
	if err := r.connect(ctx, all, 0); err != nil {
		return err
	}
	for i, b := range r.Beside {
		if b.Away {
			all[len(r.Subscribers)+i].l.leave()
		}
	}
	senders := make([]*client, len(r.pubs))
	for n, p := range r.pubs {
		senders[n] = p.client
		p.source = p
		if r.Reply != nil {
			p.sub = r.subscriber(p.client, r.Reply(n, p.who), n)
			r.subs = append(r.subs, p.sub)
		}
	}
	return r.connect(ctx, senders, len(all))
}

// receiver is the n-th accounted subscriber.
func (r *run) receiver(n int, who Client) *client {
	c := &client{x: r, n: len(r.Publishers) + n, who: who}
	c.sub = r.subscriber(c, r.Filter, -1)
	if r.Reply == nil {
		r.subs = append(r.subs, c.sub)
		return c
	}
	e := &echo{client: c, qos: r.QoS, reply: func(n int) string { return r.Reply(n, r.Publishers[n]) }}
	c.sub.echo, c.source = e, e
	r.echoes = append(r.echoes, e)
	return c
}

func (r *run) subscriber(c *client, filter string, only int) *subscriber {
	s := &subscriber{
		client: c,
		filter: filter,
		only:   only,
		ready:  make(chan error, 1),
		own:    make([]track, len(r.pubs)),
		others: map[uint64]*track{},
	}
	for i := range s.own {
		s.own[i].begin()
	}
	return s
}

// connect brings clients up to their SUBACK, a few at a time.
func (r *run) connect(ctx context.Context, clients []*client, before int) error {
	var done atomic.Int64
	errs := each(len(clients), 16, func(i int) error {
		c := clients[i]
		l, err := r.Target.dial(ctx, &c.who, c.n, hello{persistent: c.kept})
		if err != nil {
			return fmt.Errorf("%s: %w", c.who.ID, err)
		}
		c.l = l
		if err := r.start(c); err != nil {
			return fmt.Errorf("%s: %w", c.who.ID, err)
		}
		if r.Progress != nil {
			r.Progress(Progress{Connected: before + int(done.Add(1)), ToBeReached: before + len(clients)})
		}
		return nil
	})
	for _, c := range clients {
		if c.l != nil {
			r.clients = append(r.clients, c)
		}
	}
	return errs
}

// start runs a client's goroutines and subscribes.
func (r *run) start(c *client) error {
	if p, ok := c.source.(*publisher); ok {
		m := message.Message{Topic: r.Topic(c.n, c.who), Payload: make([]byte, r.Payload)}
		if r.Reply != nil && c.l.level >= 5 {
			m.Props = message.Properties{ResponseTopic: c.sub.filter, CorrelationData: []byte(c.who.ID)}
		}
		p.template = newTemplate(&m, r.QoS, c.l.level)
		if r.Rate > 0 {
			p.interval = int64(float64(len(r.pubs)) / r.Rate * 1e9)
		}
	}
	if c.source != nil && r.QoS > 0 {
		c.w = newWindow(max(1, min(r.Window, c.l.receiveMaximum)), r.QoS)
	}
	r.ended.Add(1)
	c.l.run(c, c, r.ended.Done)
	if c.sub == nil {
		return nil
	}
	c.l.put(appendSubscribe(nil, 65535, c.sub.filter, r.SubscribeQoS, c.l.level))
	select {
	case err := <-c.sub.ready:
		return err
	case <-c.l.gone:
		return fmt.Errorf("subscribing to %s: %w", c.sub.filter, c.l.reason())
	case <-time.After(r.Target.Timeout):
		return fmt.Errorf("no SUBACK for %s within %v", c.sub.filter, r.Target.Timeout)
	}
}

// forget ends the sessions of those beside, which would outlive the run.
func (r *run) forget() {
	for i, b := range r.Beside {
		if l, err := r.Target.dial(context.Background(), &b.Client, len(r.Publishers)+len(r.Subscribers)+i, hello{}); err == nil {
			_, _ = l.conn.Write(bye)
			_ = l.conn.Close()
		}
	}
}

// each calls do for 0 to n-1 from that many goroutines, and joins the first
// failures into one error that says how many there were.
func each(n, workers int, do func(i int) error) error {
	var next, failed atomic.Int64
	var mu sync.Mutex
	var first []error
	var all sync.WaitGroup
	for range min(n, workers) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					failed.Add(1)
					mu.Lock()
					if len(first) < 3 {
						first = append(first, err)
					}
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	if len(first) == 0 {
		return nil
	}
	if n > 1 {
		first = append([]error{fmt.Errorf("%d of %d clients could not take part", failed.Load(), n)}, first...)
	}
	return errors.Join(first...)
}
