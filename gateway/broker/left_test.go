package broker

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

type anybody struct {
	Authenticator
	Access
}

// A connection that is slow to leave replaces nothing of one that has come and
// gone since: that one's session still ends, and its will is still sent.
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
		s = b.store.Open(session.Request{Principal: &principal.Principal{Key: "user:c"}, ClientID: "c", Persistent: true, Conn: conn}).Session
		s.Detach(conn, at)
	}
	pending := func() *pendingWill { return &pendingWill{w: &message.WillRecord{}, sess: s} }
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
	w := httptest.NewRecorder()
	l.upgrade(w, r.WithContext(context.WithValue(t.Context(), admittedKey{}, &admitted{})))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("answered %d", w.Code)
	}
}
