package upstream

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// An outbox that is not open does not know which numbers are taken. What it took could replace, on disk,
// what was acknowledged before the restart.
func TestAnOutboxThatIsNotOpenTakesNothing(t *testing.T) {
	d := newDisk(t)
	full := newBox(t, Options{Storage: d, Connector: newCloud(false), Routes: []Route{{Name: "r"}}})
	if err := offer(t, full, msg("d1", "acknowledged")); err != nil {
		t.Fatal(err)
	}
	b, bad := New(Options{Storage: d, Connector: newCloud(false), Routes: []Route{{Name: "r"}}})
	if bad != nil {
		t.Fatal(bad)
	}
	refused := func(when string) {
		t.Helper()
		for qos := range byte(3) {
			m := msg("d1", "too early")
			m.QoS = qos
			var r *message.Refused
			if err := offer(t, b, m); !errors.As(err, &r) || r.Code != message.ServerUnavailable {
				t.Errorf("%s, QoS %d: %v", when, qos, err)
			}
		}
		if got := fmt.Sprint(d.payloads()); got != "[acknowledged]" {
			t.Errorf("%s: the disk holds %s", when, got)
		}
	}
	refused("not open")
	d.blind = errors.New("the disk cannot be read")
	fails := &unlisted{d}
	b, _ = New(Options{Storage: fails, Connector: newCloud(false), Routes: []Route{{Name: "r"}}})
	if err := b.Open(); err == nil {
		t.Fatal("it opens, and cannot read what is there")
	}
	refused("could not be opened")
}

// unlisted is a storage that cannot say what it holds.
type unlisted struct{ *disk }

func (u *unlisted) Streams(func(message.StoredStream) error) error { return u.blind }

// Never more than the window is unacknowledged upstream, and every acknowledgement lets one more leave.
func TestNeverMoreThanTheWindowIsUnacknowledged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const window, all = 3, 10
		c := newCloud(true)
		var conn *cloudConn
		c.deliver = func(k *cloudConn, _ *message.Message) (bool, bool) {
			conn = k
			return false, false
		}
		b := newBox(t, Options{Storage: newDisk(t), Connector: c, Window: window, Routes: []Route{{Name: "r"}}})
		for i := range all {
			if err := offer(t, b, msg("d1", fmt.Sprint(i))); err != nil {
				t.Fatal(err)
			}
		}
		stop := pumping(t, b)
		for acked := range all {
			synctest.Wait()
			if sent, want := len(c.seen()), min(acked+window, all); sent != want {
				t.Fatalf("after %d acknowledgements %d were sent, want %d", acked, sent, want)
			}
			c.mu.Lock()
			answer := conn.held[0]
			conn.held = conn.held[1:]
			c.mu.Unlock()
			answer(nil)
		}
		stop()
	})
}
