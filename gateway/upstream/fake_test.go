package upstream

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// disk is a Storage that answers in order on one goroutine, as the real one does.
type disk struct {
	mu    sync.Mutex
	kept  map[uint64]message.StoredOutgoing
	fail  error // of Append
	keeps bool  // although it fails
	blind error // of Read
	loads int   // calls of Next
	tasks chan func()
	end   chan struct{}
}

func newDisk(t testing.TB) *disk {
	d := &disk{kept: map[uint64]message.StoredOutgoing{}, tasks: make(chan func(), 1<<16), end: make(chan struct{})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case f := <-d.tasks:
				f()
			case <-d.end:
				return
			}
		}
	}()
	t.Cleanup(func() { close(d.end); <-done })
	return d
}

func (d *disk) Append(q message.StoredOutgoing, done func(error)) {
	d.tasks <- func() {
		d.mu.Lock()
		err := d.fail
		if err == nil || d.keeps {
			if _, twice := d.kept[q.Seq]; twice {
				err = fmt.Errorf("sequence %d twice", q.Seq)
			}
			d.kept[q.Seq] = q
		}
		d.mu.Unlock()
		done(err)
	}
}

func (d *disk) Remove(stream message.StreamID, seqs []uint64, done func(error)) {
	d.tasks <- func() {
		d.mu.Lock()
		for _, n := range seqs {
			if d.kept[n].Stream == stream {
				delete(d.kept, n)
			}
		}
		d.mu.Unlock()
		if done != nil {
			done(nil)
		}
	}
}

func (d *disk) Read(stream message.StreamID, seq uint64) (message.StoredOutgoing, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.blind != nil {
		return message.StoredOutgoing{}, d.blind
	}
	k, ok := d.kept[seq]
	if !ok || k.Stream != stream {
		return k, errors.New("no such record")
	}
	return k, nil
}

// sorted is what is kept, in order of the numbers. It is called with mu held.
func (d *disk) sorted() (list []message.StoredOutgoing) {
	for _, n := range slices.Sorted(maps.Keys(d.kept)) {
		list = append(list, d.kept[n])
	}
	return list
}

func (d *disk) Next(stream message.StreamID, after, upTo uint64, count int, bytes int64) (list []message.StoredOutgoing, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.loads++
	for _, q := range d.sorted() {
		if q.Stream != stream || q.Seq <= after {
			continue
		}
		if q.Seq > upTo || len(list) == count || bytes <= 0 {
			break
		}
		if d.blind != nil {
			q.Message, q.Size, q.Topic = nil, 0, ""
		}
		list, bytes = append(list, q), bytes-q.Size
	}
	return list, nil
}

func (d *disk) Streams(yield func(message.StoredStream) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	sums := map[message.StreamID]message.StoredStream{}
	for _, q := range d.sorted() {
		s := sums[q.Stream]
		sums[q.Stream] = message.StoredStream{ID: q.Stream, Count: s.Count + 1, Bytes: s.Bytes + q.Size, Last: q.Seq}
	}
	d.mu.Unlock()
	defer d.mu.Lock()
	for _, s := range sums {
		if err := yield(s); err != nil {
			return err
		}
	}
	return nil
}

// payloads is what is kept, in order of the numbers.
func (d *disk) payloads() (list []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.sorted() {
		list = append(list, string(q.Message.Payload))
	}
	return list
}

func (d *disk) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.kept)
}

// flush waits until everything submitted before is done.
func (d *disk) flush() {
	ch := make(chan struct{})
	d.Remove(message.StreamID{}, nil, func(error) { close(ch) })
	<-ch
}

// cloud is a Connector whose behaviour the test writes: deliver decides what
// becomes of each message of a connection.
type cloud struct {
	mu       sync.Mutex
	open     bool
	change   chan struct{}
	lanes    func(device string) string
	deliver  func(c *cloudConn, m *message.Message) (ack, hangup bool)
	received []string // "device payload", every delivery
	topics   []string
	conns    int
	opened   []*cloudConn // those that may have ended are among them
}

func newCloud(open bool) *cloud {
	return &cloud{open: open, change: make(chan struct{}), deliver: func(*cloudConn, *message.Message) (bool, bool) { return true, false }}
}

type cloudConn struct {
	cloud *cloud
	lane  string
	n     int // messages seen
	once  sync.Once
	done  chan struct{}
	ended bool          // guarded by cloud.mu
	held  []func(error) // guarded by cloud.mu: unacknowledged
}

func (c *cloud) Lane(device string) string {
	if c.lanes != nil {
		return c.lanes(device)
	}
	return ""
}

func (c *cloud) set(open bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open = open
	close(c.change)
	c.change = make(chan struct{})
}

func (c *cloud) Connect(ctx context.Context, lane string) (Conn, error) {
	for {
		c.mu.Lock()
		open, change := c.open, c.change
		if open {
			c.conns++
			k := &cloudConn{cloud: c, lane: lane, done: make(chan struct{})}
			c.opened = append(slices.DeleteFunc(c.opened, func(k *cloudConn) bool { return k.ended }), k)
			c.mu.Unlock()
			return k, nil
		}
		c.mu.Unlock()
		select {
		case <-change:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (k *cloudConn) Send(topic string, m *message.Message, acked func(error)) error {
	k.cloud.mu.Lock()
	if k.ended {
		k.cloud.mu.Unlock()
		return errors.New("lost")
	}
	k.n++
	ack, hangup := k.cloud.deliver(k, m)
	k.cloud.received = append(k.cloud.received, m.Via.Device+" "+string(m.Payload))
	k.cloud.topics = append(k.cloud.topics, topic)
	if !ack {
		k.held = append(k.held, acked)
	}
	k.cloud.mu.Unlock()
	if ack {
		acked(nil)
	}
	if hangup {
		k.hangup()
	}
	return nil
}

func (k *cloudConn) hangup() {
	k.once.Do(func() {
		k.cloud.mu.Lock()
		k.ended = true
		held := k.held
		k.cloud.mu.Unlock()
		for _, f := range held {
			f(errors.New("lost"))
		}
		close(k.done)
	})
}

func (k *cloudConn) Done() <-chan struct{} { return k.done }

// Release ends the connection if it is said to be broken.
func (k *cloudConn) Release(broken bool) {
	if broken {
		k.hangup()
	}
}

// live is the connections that have not ended.
func (c *cloud) live() []*cloudConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(c.opened), func(k *cloudConn) bool { return k.ended })
}

func (c *cloud) seen() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.received)
}

func msg(device, payload string) *message.Message {
	return &message.Message{Topic: "t/" + device, Payload: []byte(payload), QoS: 1, Accepted: time.Unix(1000, 0),
		Publisher: &principal.Principal{Kind: principal.Device, Key: "device:" + device}, Via: message.Route{Device: device}}
}

func newBox(t testing.TB, o Options) *Outbox {
	t.Helper()
	b, bad := New(o)
	if bad != nil {
		t.Fatal(bad)
	}
	if err := b.Open(); err != nil {
		t.Fatal(err)
	}
	return b
}

func pumping(t testing.TB, b *Outbox) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); <-done })
	t.Cleanup(stop)
	return stop
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		if f() {
			return
		}
		<-time.After(2 * time.Millisecond)
	}
	t.Fatalf("not in a minute: %s", what)
}

// offer waits for the answer.
func offer(t testing.TB, b *Outbox, m *message.Message) error {
	t.Helper()
	ch := make(chan error, 1)
	if !b.Offer(m, nil, func(err error) { ch <- err }) {
		t.Fatal("no route")
	}
	return <-ch
}
