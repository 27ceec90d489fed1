package upstream

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// How a client publishes, and what it does about a message without an acknowledgement.
type style int

const (
	told      style = iota // MQTT 5, QoS 1: it is told that the outbox is full, and does without
	repeating              // MQTT 3.1.1, QoS 1: it sends again, over its next connection, in the same order
	promised               // QoS 2 of a persistent session: the message outlives the connection
)

// modelled is one publisher with what the model knows of it.
type modelled struct {
	name  string
	style style

	mu    sync.Mutex // guards the fields below
	next  int
	open  []*modelledOffer // in the order in which they were offered, without an answer
	taken []int            // answered: the outbox has it, in the order of the answers
	code  string           // the last answer that was no success
}

// modelledOffer is one message under one connection.
type modelledOffer struct {
	n    int
	code byte // of Still
}

// offers is the world of the property test.
type offers struct {
	t     *testing.T
	b     *Outbox
	d     *disk
	c     *cloud
	size  [3]int64 // what a message counts for, by its number modulo 3
	all   []*modelled
	hold  bool // upstream acknowledges nothing
	steps []string
}

const (
	modelMessages       = 6
	modelDeviceMessages = 3
	modelBytes          = 2000
)

// body is the payload of a message: every third one is large.
func body(n int) string {
	if n%3 == 0 {
		return fmt.Sprintf("%03d%s", n, strings.Repeat("x", 600))
	}
	return fmt.Sprintf("%03d", n)
}

func newOffers(t *testing.T) *offers {
	w := &offers{t: t, d: newDisk(t), c: newCloud(true)}
	w.c.lanes = func(device string) string { return device }
	w.c.deliver = func(*cloudConn, *message.Message) (bool, bool) { return !w.hold, false }
	w.b = newBox(t, Options{
		Storage:   w.d,
		Connector: w.c,
		Window:    2,
		Limits:    Limits{Messages: modelMessages, DeviceMessages: modelDeviceMessages, Bytes: modelBytes},
		Log:       slog.New(slog.DiscardHandler),
		Routes:    []Route{{Name: "r"}},
	})
	for n := range w.size {
		d := newDisk(t)
		b := newBox(t, Options{Storage: d, Connector: w.c, Routes: []Route{{Name: "r"}}})
		_ = offer(t, b, msg("d0", body(n)))
		w.size[n] = d.sorted()[0].Size
	}
	for i, s := range []style{told, repeating, repeating, promised} {
		w.all = append(w.all, &modelled{name: fmt.Sprint("d", i), style: s})
	}
	return w
}

func (w *offers) offer(p *modelled, o *modelledOffer) {
	var wait *message.Wait
	if p.style != told {
		wait = &message.Wait{
			Begun: func() {},
			Still: func() byte { p.mu.Lock(); defer p.mu.Unlock(); return o.code },
		}
	}
	p.mu.Lock()
	p.open = append(p.open, o)
	p.mu.Unlock()
	w.b.Offer(msg(p.name, body(o.n)), wait, func(err error) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open = slices.DeleteFunc(p.open, func(x *modelledOffer) bool { return x == o })
		if err != nil {
			p.code = code(err)
			return
		}
		p.taken = append(p.taken, o.n)
	})
}

// reconnect ends the connection of p; a message of it may come after its end. What a QoS 1
// client waited for it sends again.
func (w *offers) reconnect(p *modelled, straggler bool) {
	if p.style != repeating {
		return
	}
	p.mu.Lock()
	var again []int
	for _, o := range p.open {
		if o.code == message.Success {
			again = append(again, o.n)
		}
		o.code = message.UnspecifiedError
	}
	if straggler {
		p.next++
		again = append(again, p.next)
	}
	p.mu.Unlock()
	if straggler {
		w.offer(p, &modelledOffer{n: p.next, code: message.UnspecifiedError})
	}
	for _, n := range again {
		w.offer(p, &modelledOffer{n: n})
	}
}

// one offers the next message of p.
func (w *offers) one(p *modelled) int {
	p.mu.Lock()
	p.next++
	n := p.next
	p.code = ""
	p.mu.Unlock()
	w.offer(p, &modelledOffer{n: n})
	return n
}

// told checks what a publisher who does not wait is answered.
func (w *offers) told(p *modelled) string {
	before := w.naive()
	n := w.one(p)
	synctest.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	want := map[bool]string{true: "97 outbox-full"}[before.full(p.name, w.size[n%3])]
	if p.style == told && p.code != want && !strings.HasSuffix(p.code, "disk-full") {
		w.t.Errorf("%s offered %d: %q, want %q (%+v)", p.name, n, p.code, want, before)
	}
	return fmt.Sprintf("%s offers %d", p.name, n)
}

// burst offers several messages of some publishers at once, while the disk becomes full and free again.
func (w *offers) burst(r *rand.Rand) string {
	hold := make(chan struct{})
	w.d.tasks <- func() { <-hold }
	for range 2 + r.IntN(8) {
		w.one(w.all[r.IntN(len(w.all))])
		if r.IntN(3) == 0 {
			full := map[bool]error{true: coded("disk-full")}[r.IntN(2) == 0]
			w.d.tasks <- func() { w.d.mu.Lock(); w.d.fail = full; w.d.mu.Unlock() }
		}
	}
	close(hold)
	return "a burst"
}

func (w *offers) step(r *rand.Rand) {
	p := w.all[r.IntN(len(w.all))]
	var what string
	switch kind := r.IntN(20); {
	case kind < 8:
		what = w.told(p)
	case kind < 10:
		what = w.burst(r)
	case kind < 12:
		w.reconnect(p, r.IntN(2) == 0)
		what = p.name + " reconnects"
	case kind < 13:
		p.mu.Lock()
		if len(p.open) > 0 {
			p.open[r.IntN(len(p.open))].code = message.NotAuthorized
		}
		p.mu.Unlock()
		what = p.name + " loses the right of one"
	case kind < 14:
		w.d.mu.Lock()
		full := w.d.fail == nil
		w.d.fail = map[bool]error{true: coded("disk-full")}[full]
		w.d.mu.Unlock()
		what = fmt.Sprint("disk full: ", full)
	case kind < 16:
		w.c.mu.Lock()
		w.hold = !w.hold
		w.c.mu.Unlock()
		if !w.hold {
			w.hangUp()
		}
		what = fmt.Sprint("upstream holds: ", w.hold)
	case kind < 18:
		w.c.set(!w.c.open)
		w.hangUp()
		what = fmt.Sprint("upstream is there: ", w.c.open)
	default:
		time.Sleep(time.Duration(1+r.IntN(2000)) * time.Millisecond)
		what = "time passes"
	}
	w.steps = append(w.steps, fmt.Sprint(what, "   ", w.state()))
}

// hangUp ends the connections upstream.
func (w *offers) hangUp() {
	for _, k := range w.c.live() {
		k.hangup()
	}
}

// fill is the model of the limits: what is in the outbox.
type fill struct {
	messages map[string]int // by publisher
	bytes    int64
}

func (w *offers) naive() fill {
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	f := fill{messages: map[string]int{}}
	for _, q := range w.d.kept {
		f.messages[q.Message.Via.Device]++
		f.bytes += q.Size
	}
	return f
}

func (f fill) full(device string, size int64) bool {
	all := 0
	for _, n := range f.messages {
		all += n
	}
	return f.messages[device] >= modelDeviceMessages || all >= modelMessages || f.bytes+size > modelBytes
}

// check is rule 4 of docs/spec/semantics.md 6.3 and 6.4 for a world in which nothing is under way.
func (w *offers) check() (wrong string) {
	synctest.Wait()
	f := w.naive()
	w.d.mu.Lock()
	broken := w.d.fail != nil
	w.d.mu.Unlock()
	waits, somebody := "", false // who could be taken, by his own limits; whether it is the outbox that is full for one of them
	for _, p := range w.all {
		open, taken := p.state()
		if !slices.IsSorted(taken) {
			return fmt.Sprintf("%s: taken out of order: %v", p.name, taken)
		}
		if len(open) > 0 && p.style == told {
			return p.name + " waits, although it could be told"
		}
		if len(open) == 0 || broken || w.noSpace() || f.messages[p.name] >= modelDeviceMessages {
			continue
		}
		waits = fmt.Sprintf("%s: %d waits although there is capacity: %+v", p.name, open[0].n, f)
		// A small message does not overtake a large one of another publisher, or that one would wait for ever.
		somebody = somebody || f.full(p.name, w.size[open[0].n%3])
	}
	if waits != "" && !somebody {
		return waits
	}
	if st := w.b.Stats(); st.Messages > modelMessages {
		return fmt.Sprintf("%d messages in the outbox", st.Messages)
	}
	return w.order()
}

func (p *modelled) state() (open []*modelledOffer, taken []int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.open), slices.Clone(p.taken)
}

func (w *offers) noSpace() bool {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	return w.b.withheld.noSpace
}

// order: upstream gets each publisher's messages, without repetitions, in order, and nothing that
// the outbox has not taken.
func (w *offers) order() string {
	last, seen := map[string]int{}, map[string]bool{}
	for _, s := range w.c.seen() {
		if seen[s] {
			continue
		}
		seen[s] = true
		device, number, _ := strings.Cut(s, " ")
		n, _ := strconv.Atoi(number[:3])
		if n < last[device] {
			return fmt.Sprintf("upstream has %s after %d", s, last[device])
		}
		last[device] = n
		for _, p := range w.all {
			if _, taken := p.state(); p.name == device && !slices.Contains(taken, n) {
				return "upstream has " + s + ", which was never acknowledged"
			}
		}
	}
	return ""
}

// finish lets everything through. What was taken is upstream, and nobody waits any more.
func (w *offers) finish() (wrong string) {
	w.d.mu.Lock()
	w.d.fail = nil
	w.d.mu.Unlock()
	w.c.mu.Lock()
	w.hold = false
	w.c.mu.Unlock()
	w.c.set(true)
	w.hangUp()
	time.Sleep(5 * time.Minute)
	synctest.Wait()
	seen := w.c.seen()
	for _, p := range w.all {
		open, taken := p.state()
		for _, n := range taken {
			if !slices.Contains(seen, p.name+" "+body(n)) {
				return fmt.Sprintf("%s: %d was acknowledged and is not upstream", p.name, n)
			}
		}
		if len(open) > 0 {
			return fmt.Sprintf("%s: %d waits for ever", p.name, open[0].n)
		}
	}
	if st := w.b.Stats(); st.Withheld != 0 || st.WithheldBytes != 0 || st.Messages != 0 {
		return fmt.Sprintf("at the end %+v", st)
	}
	return w.order()
}

// Rule 4 for any interleaving of publishers of every kind, of a full outbox, a full disk, lost
// connections on either side, and withdrawn rights.
func TestOffersAgainstModel(t *testing.T) {
	for seed := range uint64(150) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 4))
			w := newOffers(t)
			defer pumping(t, w.b)()
			wrong := ""
			for range 150 {
				w.step(r)
				if wrong = w.check(); wrong != "" {
					break
				}
			}
			if wrong == "" {
				wrong = w.finish()
			}
			if wrong != "" {
				t.Errorf("seed %d: %s, after:\n%s", seed, wrong, strings.Join(w.steps[max(0, len(w.steps)-15):], "\n"))
			}
		})
		if t.Failed() {
			return
		}
	}
}

// state is what the publishers know, and what is stored.
func (w *offers) state() string {
	synctest.Wait()
	var b strings.Builder
	for _, p := range w.all {
		open, taken := p.state()
		fmt.Fprintf(&b, "%s:", p.name)
		for _, o := range open {
			fmt.Fprintf(&b, " %d/%x", o.n, o.code)
		}
		fmt.Fprintf(&b, " taken %v; ", taken)
	}
	fmt.Fprintf(&b, " stored %+v", w.naive())
	return b.String()
}
