package outbuf

import (
	"bytes"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/gateway/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pipe is a Conn whose peer reads only when it is let.
type pipe struct {
	mu       sync.Mutex
	got      bytes.Buffer
	writes   int
	permits  chan struct{} // nil: open; otherwise each write takes one
	dead     chan struct{}
	fail     error
	closed   bool
	aborted  bool
	deadline time.Time
}

func (p *pipe) Write(b []byte) (int, error) {
	p.mu.Lock()
	permits, deadline := p.permits, p.deadline
	p.mu.Unlock()
	if permits != nil {
		t := time.NewTimer(time.Until(deadline))
		defer t.Stop()
		select {
		case <-permits:
		case <-p.dead:
			return 0, errors.New("closed")
		case <-t.C:
			return 0, errors.New("deadline")
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.fail != nil {
		return 0, p.fail
	}
	p.writes++
	return p.got.Write(b)
}

func (p *pipe) SetWriteDeadline(t time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.deadline = t
	return nil
}

func (p *pipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	return nil
}

func (p *pipe) Abort() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.aborted && p.dead != nil {
		close(p.dead)
	}
	p.aborted = true
	return nil
}

func (p *pipe) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.String()
}

func config() Config {
	return Config{Limit: 100, Reserve: 50, Write: time.Minute, Stall: 100 * time.Millisecond}
}

func put(s string) func([]byte, Alias) []byte {
	return func(b []byte, _ Alias) []byte { return append(b, s...) }
}

// Everything leaves in order, in one write per wake-up, and a corked buffer waits.
func TestOrderAndOneWrite(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{}
		b := New(p, config())
		b.Cork()
		b.Control([]byte("1"))
		b.Message(nil, nil, 0, put("2"))
		b.Control([]byte("3"))
		synctest.Wait()
		if p.text() != "" {
			t.Error("a corked buffer writes")
		}
		b.Uncork()
		synctest.Wait()
		if p.text() != "123" || p.writes != 1 {
			t.Errorf("%q in %d writes", p.text(), p.writes)
		}
		if b.pending.b != nil || b.running {
			t.Error("an idle buffer holds memory, or a writer")
		}
		b.Close([]byte("bye"), time.Second)
		<-b.Done()
		if p.text() != "123bye" || !p.closed || b.Control([]byte("late")) {
			t.Errorf("%q %v", p.text(), p.closed)
		}
	})
}

// A full buffer: messages are refused, control frames are not, and publishers
// wait for Stall in all.
func TestStall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{permits: make(chan struct{}), dead: make(chan struct{})}
		b := New(p, config())
		b.Message(nil, nil, 0, put(string(make([]byte, 105))))
		if r := b.Message(nil, nil, 0, put("x")); r != Full {
			t.Errorf("result %v", r)
		}
		began := time.Now()
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if b.WaitCapacity(time.Hour) {
					t.Error("room")
				}
			})
		}
		wg.Wait()
		if b.WaitCapacity(time.Hour) || time.Since(began) != 100*time.Millisecond {
			t.Errorf("waited %v", time.Since(began))
		}
		b.Control(make([]byte, 40))
		if b.Overfull() {
			t.Error("the reserve is used up too early")
		}
		b.Control(make([]byte, 40))
		if !b.Overfull() || b.WaitControl(time.Second) {
			t.Error("no limit for control frames")
		}
		p.permits <- struct{}{} // the reader reads: the stall is over
		synctest.Wait()
		if !b.WaitCapacity(time.Hour) || !b.WaitControl(time.Second) {
			t.Error("no room after progress")
		}
		b.Abort()
		<-b.Done()
	})
}

// A write without progress ends the connection; Close flushes within its bound.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, closing := range []bool{false, true} {
			p := &pipe{permits: make(chan struct{}), dead: make(chan struct{})}
			b := New(p, config())
			began := time.Now()
			want := time.Minute
			if closing {
				want = time.Second
				b.Close([]byte("x"), want)
			} else {
				b.Control([]byte("x"))
			}
			<-b.Done()
			if d := time.Since(began); d != want || !p.aborted {
				t.Errorf("closing %v: after %v", closing, d)
			}
		}
	})
}

func TestTooLarge(t *testing.T) {
	t.Parallel()
	p := &pipe{}
	b := New(p, config())
	b.Cork()
	b.Control([]byte("a"))
	if r := b.Message(nil, nil, 3, put("1234")); r != TooLarge {
		t.Errorf("result %v", r)
	}
	b.Close([]byte("b"), time.Second)
	<-b.Done()
	if p.text() != "ab" {
		t.Errorf("%q", p.text())
	}
}

// Cut takes out exactly what is denied, whatever lies between. The oracle is a
// list of strings.
func TestCut(t *testing.T) {
	t.Parallel()
	good, bad := &message.Message{Topic: "good"}, &message.Message{Topic: "bad"}
	deny := func(m *message.Message, _ Owner) bool { return m == bad }
	rapid.Check(t, func(t *rapid.T) {
		p := &pipe{}
		b := New(p, Config{Limit: 1 << 20, Reserve: 1, Write: time.Minute, Stall: time.Second})
		b.Cork()
		want, cut := "", 0
		for i := range rapid.IntRange(0, 30).Draw(t, "frames") {
			s := rapid.StringMatching(`[a-z]{0,5}`).Draw(t, "frame")
			switch rapid.IntRange(0, 3).Draw(t, "kind") {
			case 0:
				b.Control([]byte(s))
				want += s
			case 1:
				b.Message(good, i, 0, put(s))
				want += s
			case 2:
				b.Message(bad, i, 0, put(s))
				cut++
			case 3:
				owners, held := b.Cut(deny)
				if len(owners) != cut || held != nil {
					t.Fatalf("cut %d of %d", len(owners), cut)
				}
				cut = 0
			}
		}
		owners, _ := b.Cut(deny)
		if len(owners) != cut {
			t.Fatalf("cut %d of %d", len(owners), cut)
		}
		b.Close(nil, time.Second)
		<-b.Done()
		if p.text() != want {
			t.Fatalf("got %q, want %q", p.text(), want)
		}
	})
}

// What a writer holds cannot be cut: Cut says so, and that write is over when it
// is, however long the next one takes.
func TestHeld(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipe{permits: make(chan struct{}), dead: make(chan struct{})}
		b := New(p, config())
		bad, good := &message.Message{}, &message.Message{}
		b.Message(bad, nil, 0, put("x"))
		synctest.Wait()
		b.Message(good, nil, 0, put("y"))
		_, held := b.Cut(func(m *message.Message, _ Owner) bool { return m == bad })
		if held == nil || held.Await(time.Second) {
			t.Error("not held")
		}
		p.permits <- struct{}{}
		synctest.Wait()
		if !held.Await(time.Second) {
			t.Error("still writing")
		}
		if _, held := b.Cut(func(m *message.Message, _ Owner) bool { return m == bad }); !held.Await(0) {
			t.Error("the write of another is waited for")
		}
		b.Abort()
		<-b.Done()
	})
}
