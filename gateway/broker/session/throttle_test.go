package session

import (
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// crowd makes a store with one connected session that has n deliveries in a queue for 100.
func crowd(n int64) (slow, publisher *Session) {
	st := NewStore(Config{
		QueueMessages: 100,
		QueueBytes:    1 << 20,
		HoldUp:        5 * time.Second,
		HoldUpWindow:  time.Minute,
	})
	slow = &Session{store: st, link: &Link{}}
	slow.count.Store(n)
	return slow, &Session{store: st, link: &Link{}}
}

func TestAwait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow, publisher := crowd(75)
		await := func() time.Duration { return slow.Await(Publisher{Session: publisher}) }
		if d := await(); d != 0 {
			t.Errorf("waited %v below three quarters", d)
		}
		slow.count.Store(76)
		go func() {
			time.Sleep(time.Second)
			slow.count.Store(51)
			slow.ease(false) // the queue is still more than half full
			time.Sleep(time.Second)
			slow.count.Store(50)
			slow.ease(false)
		}()
		if d := await(); d != 2*time.Second {
			t.Errorf("waited %v for half of the queue", d)
		}
		slow.count.Store(80)
		if d := await(); d != 3*time.Second {
			t.Errorf("waited %v, the rest of the budget is 3 s", d)
		}
		time.Sleep(time.Hour) // time alone does not reset spent, because the client still does not read
		if d := await(); d != 0 {
			t.Errorf("waited %v for one whose budget is spent", d)
		}
		slow.count.Store(25)
		slow.ease(false)
		slow.count.Store(80)
		if d := await(); d != 5*time.Second {
			t.Errorf("waited %v; it has read, and an hour has passed", d)
		}
		for _, after := range []struct{ pause, want time.Duration }{
			{54 * time.Second, 0},               // 59 s after the wait began: all of it is within the last minute
			{11 * time.Second, 5 * time.Second}, // more than 13/12 of a minute after it began, and ended
		} {
			slow.count.Store(25)
			slow.ease(false)
			time.Sleep(after.pause)
			slow.count.Store(80)
			if d := await(); d != after.want {
				t.Errorf("waited %v, want %v", d, after.want)
			}
		}
	})
}

// In no window publishers wait for longer than the budget, and a wait is forgotten at the latest
// after 13/12 of a window.
func TestSpending(t *testing.T) {
	const window = 60 * time.Second
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		u := &spending{}
		var ticks []bool // by second: whether somebody waited
		for range 500 {
			waiting := r.IntN(3) == 0
			for range 1 + r.IntN(20) {
				ticks = append(ticks, waiting)
			}
			got := u.pass(time.Duration(len(ticks))*time.Second, waiting, window)
			count := func(seconds int) (sum time.Duration) {
				for _, w := range ticks[max(0, len(ticks)-seconds):] {
					if w {
						sum += time.Second
					}
				}
				return sum
			}
			if least, most := count(60), count(65); got < least || got > most {
				t.Fatalf("seed %d, after %d s: %v, want %v to %v", seed, len(ticks), got, least, most)
			}
			if r.IntN(40) == 0 { // a long silence
				ticks = append(ticks, make([]bool, r.IntN(2000))...)
				u.pass(time.Duration(len(ticks))*time.Second, false, window)
			}
		}
	}
}

func TestAwaitIsOver(t *testing.T) {
	for name, end := range map[string]func(slow *Session, gone chan struct{}){
		"its connection ends": func(slow *Session, _ chan struct{}) {
			slow.mu.Lock()
			slow.unlink()
			slow.mu.Unlock()
		},
		"the publisher's ends": func(_ *Session, gone chan struct{}) { close(gone) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				slow, publisher := crowd(80)
				gone := make(chan struct{})
				go func() {
					time.Sleep(time.Second)
					end(slow, gone)
				}()
				if d := slow.Await(Publisher{Session: publisher, Gone: gone}); d != time.Second {
					t.Errorf("waited %v", d)
				}
			})
		})
	}
}

// No publisher waits for a client whose connection is not read, nor for its own session.
func TestNobodyWaitsForOneWhoCannotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := crowd(80)
		a.Paused(true)
		if d := a.Await(Publisher{Session: b}); d != 0 {
			t.Errorf("waited %v for one that is not read", d)
		}
		a.Paused(false)
		if d := a.Await(Publisher{Session: a}); d != 0 {
			t.Errorf("waited %v for itself", d)
		}
		if d := a.Await(Publisher{}); d != 0 {
			t.Errorf("something that is no client waited %v", d)
		}
	})
}
