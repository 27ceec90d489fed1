package broker_test

import (
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// contested makes the first take-over begin a contest, in which a newcomer waits, if the holder
// answers, longer than any test lasts.
func contested(o *broker.Options) { o.Contest.TakeOvers, o.Contest.Wait = 1, time.Hour }

// arrive sends a CONNECT, and does not wait for the answer.
func (h *house) arrive(level byte, user string) *rawclient.Client {
	h.t.Helper()
	c := h.dial()
	c.Level, c.ID, c.User = level, user, user
	c.Put(rawclient.Connect{Level: level, ID: user, User: user}.Bytes()...)
	return c
}

// contest has two clients take one client id from each other, and returns the one that holds it.
func (h *house) contest(level byte, user string) (holder *rawclient.Client) {
	h.t.Helper()
	first := h.client(level, user)
	holder = h.client(level, user)
	first.ExpectClosed()
	return holder
}

func (h *house) waiting(n int) {
	h.t.Helper()
	h.until(fmt.Sprint(n, " wait"), func() bool { return h.Stats().Waiting == n })
}

func (t *trail) of(event string) []message.AuditRecord {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(t.records), func(r message.AuditRecord) bool { return r.Event != event })
}

// Two clients that take one client id from each other do so at once only up to a rate. Then a
// newcomer waits for exactly 10 s while the holder is there, and nobody else notices. Whose id it is
// is told and audited once when that begins and once when it is over.
func TestContestedClientID(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		var last atomic.Pointer[[]broker.Contest]
		told := func() []broker.Contest {
			if l := last.Load(); l != nil {
				return *l
			}
			return nil
		}
		h := startInMemory(t, func(o *broker.Options) { o.Contested = func(l []broker.Contest) { last.Store(&l) } })
		neighbour := h.client(5, "neighbour")
		neighbour.Subscribe(1, "a", 0)
		holder := h.client(5, "same")
		for i := range 8 {
			if len(told()) > 0 {
				t.Fatalf("contested after %d take-overs", i)
			}
			begun := time.Now()
			next := h.client(5, "same")
			if d := time.Since(begun); d > 0 {
				t.Fatalf("take-over %d took %s", i, d)
			}
			if seen := holder.ExpectClosed(); len(seen) != 1 || seen[0].Body[0] != 0x8e {
				t.Fatalf("the old connection saw %v", seen)
			}
			holder = next
			synctest.Wait()
		}
		if len(told()) != 1 || told()[0].Principal != "user:same" || told()[0].ClientID != "same" || told()[0].TakeOvers != 8 {
			t.Fatalf("told %+v", told())
		}
		if i := slices.IndexFunc(h.Sessions(), func(s broker.SessionInfo) bool { return s.ClientID == "same" }); h.Sessions()[i].TakeOvers != 8 {
			t.Errorf("the session shows %d take-overs", h.Sessions()[i].TakeOvers)
		}
		for round := range 3 {
			begun := time.Now()
			newcomer := h.arrive(5, "same")
			synctest.Wait()
			if st := h.Stats(); st.Waiting != 1 || st.Pending != 0 || st.Contested != 1 {
				t.Fatalf("%+v", st)
			}
			holder.Publish("a", fmt.Sprint(round), 0, 0, 0)
			if d := neighbour.ExpectPublish(); d.Payload != fmt.Sprint(round) || time.Since(begun) > 0 {
				t.Fatalf("%+v after %s", d, time.Since(begun))
			}
			newcomer.ExpectType(2)
			if d := time.Since(begun); d != 10*time.Second {
				t.Fatalf("the newcomer waited %s", d)
			}
			holder.ExpectClosed()
			holder = newcomer
		}
		if st := h.Stats(); st.TakeOvers != 11 || st.Waiting != 0 {
			t.Errorf("%+v", st)
		}
		time.Sleep(28 * time.Second) // less than Quiet, with the second in which the last holder was closed
		if n := len(h.trail.of("contest")); n != 1 || len(told()) != 1 {
			t.Errorf("%d records and %+v while it lasts", n, told())
		}
		time.Sleep(3 * time.Second)
		records := h.trail.of("contest")
		if len(told()) != 0 || len(records) != 2 || records[1].Reason != "client-id-contested-over" {
			t.Fatalf("told %+v, audited %+v", told(), records)
		}
		begun := time.Now()
		h.client(5, "same")
		if d := time.Since(begun); d > 0 {
			t.Errorf("after the contest a newcomer waited %s", d)
		}
	})
}

// Take-overs that are further apart than the rate contest nothing, however many.
func TestSlowTakeOversAreNoContest(t *testing.T) {
	t.Parallel()
	timeless(t, func(t *testing.T) {
		h := startInMemory(t)
		for range 40 {
			h.client(4, "same")
			time.Sleep(1500 * time.Millisecond)
		}
		if st := h.Stats(); st.TakeOvers != 39 || st.Contested != 0 {
			t.Errorf("%+v", st)
		}
	})
}

// A client that hangs up and comes back, again and again, takes over from nobody.
func TestReconnectsAreNoContest(t *testing.T) {
	t.Parallel()
	h := start(t, contested)
	for range 50 {
		_ = h.client(4, "same").Close()
	}
	if st := h.Stats(); st.TakeOvers != 0 || st.Contested != 0 {
		t.Errorf("%+v", st)
	}
}

// The audit names both addresses of a contest.
func TestContestNamesBothAddresses(t *testing.T) {
	t.Parallel()
	h := start(t, contested)
	first := h.client(5, "same")
	second := h.client(5, "same")
	first.ExpectClosed()
	c := h.Contests()
	if len(c) != 1 || c[0].Holder != first.LocalAddr().String() || c[0].Newcomer != second.LocalAddr().String() {
		t.Fatalf("%+v", c)
	}
	third := h.arrive(5, "same")
	h.waiting(1)
	if c = h.Contests(); c[0].Holder != second.LocalAddr().String() || c[0].Newcomer != third.LocalAddr().String() {
		t.Fatalf("%+v", c)
	}
}

// The wait ends with the holder's own end.
func TestNewcomerFollowsAHolderThatLeaves(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t, contested)
		holder := h.contest(level, "same")
		newcomer := h.arrive(level, "same")
		h.waiting(1)
		holder.Put(0xe0, 0)
		if p := newcomer.ExpectType(2); p.Body[1] != 0 {
			t.Errorf("got %s", p)
		}
		h.waiting(0)
	})
}

// A newcomer whose client hangs up while it waits takes nothing, and waits no longer.
func TestNewcomerThatHangsUpTakesNothing(t *testing.T) {
	t.Parallel()
	h := start(t, contested)
	holder := h.contest(4, "same")
	newcomer := h.arrive(4, "same")
	h.waiting(1)
	_ = newcomer.Close()
	h.waiting(0)
	holder.ExpectSilence()
}

// The disabling of an identity ends the wait of a newcomer, whether or not the holder
// is ended by it.
func TestRevocationEndsTheWaitOfANewcomer(t *testing.T) {
	t.Parallel()
	levels(t, func(t *testing.T, level byte) {
		h := start(t, contested)
		holder := h.contest(level, "same")
		newcomer := h.arrive(level, "same")
		h.waiting(1)
		h.policy.change(func(p *policy) { p.banned["user:same"] = true })
		want := byte(5)
		if level == 5 {
			want = message.NotAuthorized
		}
		if p := newcomer.ExpectType(2); p.Body[1] != want {
			t.Errorf("got %s", p)
		}
		h.waiting(0)
		holder.ExpectSilence() // until a Recheck
		if _, err := h.Recheck(t.Context(), func(*principal.Principal) bool { return true }); err != nil {
			t.Fatal(err)
		}
		holder.ExpectClosed()
	})
}

// The broker stops while newcomers wait.
func TestStopEndsTheWaitOfANewcomer(t *testing.T) {
	t.Parallel()
	h := start(t, contested)
	h.contest(5, "same")
	newcomer := h.arrive(5, "same")
	h.waiting(1)
	h.stop()
	newcomer.ExpectClosed()
}

// Newcomers that wait are no longer among the connections that nobody has proved: a hall that
// they would fill lets others in. They are bounded by address and by session instead.
func TestWaitIsCountedAgainstTheAddress(t *testing.T) {
	t.Parallel()
	h := start(t, contested, func(o *broker.Options) {
		l := &o.Listeners[0].Limits
		l.Pending, l.PendingAddress, l.WaitingAddress = 2, 2, 5
	})
	for _, id := range []string{"one", "two"} {
		h.contest(5, id)
	}
	busy := func(id string) {
		t.Helper()
		if p := h.arrive(5, id).ExpectType(2); p.Body[1] != message.ServerBusy {
			t.Errorf("%s: %s", id, p)
		}
	}
	for i := range 4 {
		h.arrive(5, "one")
		h.waiting(i + 1)
	}
	busy("one") // as many wait for this session as may
	h.arrive(5, "two")
	h.waiting(5)
	busy("two") // or from this address
	if st := h.Stats(); st.Pending != 0 {
		t.Errorf("%d pending", st.Pending)
	}
	h.client(5, "neighbour").ExpectSilence()
	if !h.trail.has("connect", "too-many-waiting") {
		t.Error("not audited")
	}
}
