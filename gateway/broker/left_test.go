package broker

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

type anybody struct {
	Authenticator
	Access
}

// A connection that ends late, after another one of its session has connected and ended,
// replaces nothing of that one: its session still ends, and its will is still sent.
func TestSlowToLeave(t *testing.T) {
	t.Parallel()
	b, err := New(Options{Authenticator: anybody{}, Access: anybody{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer b.clock.stop()
	first, second := time.Now(), time.Now().Add(time.Second)
	var s *session.Session
	for _, at := range []time.Time{first, second} {
		conn := new(int)
		s = b.store.Open(
			session.Request{Principal: &principal.Principal{Key: "user:c"}, ClientID: "c", Persistent: true, Conn: conn},
		).Session
		s.Detach(conn, at)
	}
	pending := func() *pendingWill { return &pendingWill{w: &message.StoredWill{}, sess: s} }
	kept := pending()
	b.expireAfter(s, second, time.Hour)
	b.delayWill(kept, second, time.Hour)
	timer := b.ends[s]
	b.expireAfter(s, first, time.Hour)
	b.delayWill(pending(), first, time.Hour)
	if timer == nil || b.ends[s] != timer || b.wills[s.Key] != kept || len(b.clock.timers) != 2 {
		t.Errorf("timer kept %v, will kept %v, %d timers", b.ends[s] == timer, b.wills[s.Key] == kept, len(b.clock.timers))
	}
}

// A WebSocket request that was read just before the stop does not become a
// connection after it: Run has returned.
func TestUpgradeAfterTheStop(t *testing.T) {
	t.Parallel()
	b, err := New(Options{Authenticator: anybody{}, Access: anybody{}, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	b.server = b.newServer()
	b.stop()
	l := &listener{b: b}
	r := httptest.NewRequest(http.MethodGet, "/mqtt", nil)
	r.Header.Set("Sec-WebSocket-Protocol", "mqtt")
	w := httptest.NewRecorder()
	l.upgrade(w, r.WithContext(context.WithValue(t.Context(), admittedKey{}, &admitted{})))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d", w.Code)
	}
}

// allows lets its owner have everything.
type allows struct{ Rights }

func (allows) Connect() message.Verdict      { return message.Verdict{Allowed: true} }
func (allows) Deliver(*message.Message) bool { return true }

// Messages that wait for a suspended subscription are purged in time, also when the clock
// is set back meanwhile.
func TestPurgeWithTheClockSetBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b, err := New(Options{Authenticator: anybody{}, Access: anybody{}, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		defer b.clock.stop()
		conn := new(int)
		s := b.store.Open(
			session.Request{Principal: &principal.Principal{Key: "user:c"}, Rights: allows{}, ClientID: "c", Persistent: true, Conn: conn},
		).Session
		sub := session.NewSub(s, message.Subscription{Filter: "a", QoS: 1}, topic.Subscription{Filter: "a"})
		s.Subscribe(conn, []*session.Sub{sub}, func(*session.Sub) bool { return true }, nil)
		s.Detach(conn, time.Now())
		m := &message.Message{Topic: "a", QoS: 1}
		if !s.Reserve(m) || s.Deliver(session.Delivery{Message: m, Sub: sub, QoS: 1, Gen: s.Now()}, nil) != session.Delivered {
			t.Fatal("not taken")
		}
		before := time.Now().Add(time.Hour) // what the clock said
		suspend := func(*session.Sub) bool { return false }
		if c := s.Recheck(func(*principal.Principal) bool { return true }, before, suspend); len(c.Suspended) != 1 {
			t.Fatalf("%+v", c)
		}
		b.purgeLater(s, before)
		time.Sleep(b.o.SuspendFor)
		synctest.Wait()
		if s.Waiting() != 0 {
			t.Errorf("%d wait", s.Waiting())
		}
	})
}
