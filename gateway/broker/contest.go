package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// ContestLimits say when a client id is contested, which means that two clients with the same
// credentials take its session from each other, and what a newcomer then waits for (see
// conn.waitForHolder). Zero fields take the default.
//
// A session is contested from TakeOvers take-overs within Window on. It no longer is when no
// newcomer has found it taken for Quiet, which must be longer than Wait: the client that lost
// the session may be waiting for it.
type ContestLimits struct {
	TakeOvers int           // 8
	Window    time.Duration // 10 s
	Answer    time.Duration // what the kernel of the connected client has to answer a probe, 1 s
	Wait      time.Duration // the longest that a newcomer waits for a client that is there, 10 s
	Quiet     time.Duration // 30 s
}

func (l ContestLimits) withDefaults() ContestLimits {
	def(&l.TakeOvers, 8)
	def(&l.Window, 10*time.Second)
	def(&l.Answer, time.Second)
	def(&l.Wait, 10*time.Second)
	def(&l.Quiet, 30*time.Second)
	return l
}

// maxNewcomers is how many newcomers may wait for one session at once.
const maxNewcomers = 4

// Contest is a session that clients take from each other.
type Contest struct {
	Key       string
	Principal string // its key
	ClientID  string
	Since     time.Time
	Holder    string // address of the connection that had the session when the last newcomer came
	Newcomer  string // address of that newcomer
	TakeOvers uint64 // since then, with those that began it
	Waiting   int    // newcomers that wait at the moment
}

func (c Contest) String() string {
	return fmt.Sprintf("client id %q of %s, between %s and %s (%d take-overs)", c.ClientID, c.Principal, c.Holder, c.Newcomer, c.TakeOvers)
}

// contests remembers which sessions were taken over lately. A session that was not taken over
// within the window is forgotten, so their number is bounded by the rate at which connections
// are let in.
type contests struct {
	lim   ContestLimits
	begun chan struct{} // has an element when a contest has begun

	mu     sync.Mutex // guards the fields below; no other lock is taken with it held
	by     map[string]*contest
	forgot time.Time // when those that are over were last removed
}

// contest is what is remembered of one session.
type contest struct {
	Contest             // Since is zero until the session is contested
	recent  []time.Time // of the latest take-overs, at most lim.TakeOvers
	last    time.Time   // when a newcomer last found the session taken
}

func newContests(l ContestLimits) *contests {
	return &contests{lim: l, begun: make(chan struct{}, 1), by: map[string]*contest{}}
}

// taken notes that newcomer has taken a session from the live connection of holder. If the
// session is contested from now on, it is returned.
func (k *contests) taken(s *session.Session, holder, newcomer string) (c Contest, begins bool) {
	now := time.Now()
	k.mu.Lock()
	defer k.mu.Unlock()
	k.forget(now)
	e := k.by[s.Key]
	if e == nil {
		owner, _, _ := strings.Cut(s.Key, "\x00")
		e = &contest{Contest: Contest{Key: s.Key, Principal: owner, ClientID: s.ClientID}}
		k.by[s.Key] = e
	}
	e.recent = append(e.recent, now)
	if n := len(e.recent) - k.lim.TakeOvers; n > 0 {
		e.recent = slices.Delete(e.recent, 0, n)
	}
	e.last, e.Holder, e.Newcomer = now, holder, newcomer
	e.TakeOvers++
	if !e.Since.IsZero() || len(e.recent) < k.lim.TakeOvers || now.Sub(e.recent[0]) > k.lim.Window {
		return Contest{}, false
	}
	e.Since, e.TakeOvers = now, uint64(k.lim.TakeOvers)
	select {
	case k.begun <- struct{}{}:
	default: // tellContests has not looked yet
	}
	return e.Contest, true
}

// forget removes, at most once in a window, the sessions that were not taken over in it; mu is held.
func (k *contests) forget(now time.Time) {
	if now.Sub(k.forgot) < k.lim.Window {
		return
	}
	k.forgot = now
	for key, e := range k.by {
		if e.Since.IsZero() && now.Sub(e.last) > k.lim.Window {
			delete(k.by, key)
		}
	}
}

// contested tells whether the session of that key is.
func (k *contests) contested(key string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.by[key]
	return e != nil && !e.Since.IsZero()
}

// wait counts a newcomer that begins to wait for a session; false: as many wait as may.
func (k *contests) wait(key, holder, newcomer string) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.by[key]
	if e == nil { // the contest has ended since
		return true
	}
	e.last, e.Holder, e.Newcomer = time.Now(), holder, newcomer
	if e.Waiting >= maxNewcomers {
		return false
	}
	e.Waiting++
	return true
}

// waited ends a wait.
func (k *contests) waited(key string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.by[key]; e != nil && e.Waiting > 0 {
		e.Waiting--
	}
}

// going lists the contests that go on, in order of their key.
func (k *contests) going() []Contest {
	k.mu.Lock()
	defer k.mu.Unlock()
	var list []Contest
	for _, e := range k.by {
		if !e.Since.IsZero() {
			list = append(list, e.Contest)
		}
	}
	slices.SortFunc(list, func(a, b Contest) int { return strings.Compare(a.Key, b.Key) })
	return list
}

// end forgets the contests that are over at now, and returns them.
func (k *contests) end(now time.Time) []Contest {
	k.mu.Lock()
	defer k.mu.Unlock()
	var ended []Contest
	for key, e := range k.by {
		if !e.Since.IsZero() && e.Waiting == 0 && now.Sub(e.last) >= k.lim.Quiet {
			delete(k.by, key)
			ended = append(ended, e.Contest)
		}
	}
	return ended
}

// Contests lists the sessions that clients take from each other at the moment, in order of their key.
func (b *Broker) Contests() []Contest { return b.contests.going() }

// takenOver notes that c has taken the session s from old. A connection whose client has hung up
// already was not taken from anybody: its reader has not noticed yet.
func (b *Broker) takenOver(s *session.Session, old, c *conn) {
	if old.isOver() || old.sock.hungUp() {
		return
	}
	s.Tally.TakeOvers.Add(1)
	b.count.takeOvers.Add(1)
	if t, begins := b.contests.taken(s, old.remote, c.remote); begins {
		b.auditContest(t, "client-id-contested", fmt.Sprintf("taken over %d times within %s, now from %s by %s: two clients use one client id",
			t.TakeOvers, b.contests.lim.Window, t.Holder, t.Newcomer))
	}
}

func (b *Broker) auditContest(t Contest, reason, detail string) {
	b.o.Auditor.Audit(message.AuditRecord{
		Time:      time.Now(),
		Event:     "contest",
		Principal: t.Principal,
		ClientID:  t.ClientID,
		Remote:    t.Newcomer,
		Allowed:   true,
		Reason:    reason,
		Detail:    detail,
		Count:     1,
	})
}

// contestEvery is how often it is looked whether a contest has ended, and told how many
// take-overs there were.
const contestEvery = time.Second

// tellContests tells Options.Contested and audits the end of contests, until ctx ends.
func (b *Broker) tellContests(ctx context.Context) {
	var again <-chan time.Time // nil while nothing is contested
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.contests.begun:
		case <-again:
		}
		for _, t := range b.contests.end(time.Now()) {
			b.auditContest(t, "client-id-contested-over", fmt.Sprintf("%d take-overs since %s, last from %s by %s",
				t.TakeOvers, t.Since.UTC().Format(time.RFC3339), t.Holder, t.Newcomer))
		}
		list := b.Contests()
		if b.o.Contested != nil {
			b.o.Contested(list)
		}
		if again = nil; len(list) > 0 {
			again = time.After(contestEvery)
		}
	}
}
