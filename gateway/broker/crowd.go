package broker

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/hall"
)

// Crowd is a listener at which more connections wait than may whose client is not authenticated,
// so that some are closed to make room.
type Crowd struct {
	Listener string
	Since    time.Time      // when the first one was closed
	Closed   uint64         // since then
	Pending  int            // connections that are not authenticated
	Places   int            // of which there may be so many
	Most     []hall.Holding // who holds most, or held most when one was closed last; at most five
}

func (c Crowd) String() string {
	var most strings.Builder
	for i, h := range c.Most {
		if i > 0 {
			most.WriteString(", ")
		}
		of := h.Of.String()
		if h.Of.IsSingleIP() {
			of = h.Of.Addr().String()
		}
		fmt.Fprintf(&most, "%s (%d)", of, h.Guests)
	}
	return fmt.Sprintf("%q with %d of %d places taken (%d closed since %s), most by %s",
		c.Listener, c.Pending, c.Places, c.Closed, c.Since.UTC().Format(time.RFC3339), most.String())
}

const (
	crowdEvery = time.Second      // how often it is told who holds most
	crowdQuiet = 30 * time.Second // a crowd is over when nobody was closed for so long
	crowdNames = 5
)

// crowd is what an admission remembers of one; its mu guards it.
type crowd struct {
	since  time.Time // zero: there is none
	last   time.Time // when somebody was closed last
	closed uint64
	most   []hall.Holding
	looked time.Time // when most was made
}

// tellCrowd notes that a connection is closed to make room; mu is held.
func (a *admission) tellCrowd(now time.Time) {
	c := &a.crowd
	if c.since.IsZero() {
		c.since = now
		select {
		case a.b.crowded <- struct{}{}:
		default: // tellCrowds has not looked yet
		}
	}
	c.last = now
	c.closed++
	if now.Sub(c.looked) >= crowdEvery {
		c.looked, c.most = now, a.hall.Most(crowdNames)
	}
}

// crowding returns the crowd at this door; ok is false if there is none, or none any more.
func (a *admission) crowding(now time.Time) (c Crowd, ok bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.crowd.since.IsZero() && now.Sub(a.crowd.last) >= crowdQuiet {
		a.crowd = crowd{}
	}
	if a.crowd.since.IsZero() {
		return Crowd{}, false
	}
	return Crowd{
		Listener: a.name,
		Since:    a.crowd.since,
		Closed:   a.crowd.closed,
		Pending:  a.hall.Len(),
		Places:   a.lim.Pending,
		Most:     a.crowd.most,
	}, true
}

// tellCrowds tells Options.Crowded, until ctx ends.
func (b *Broker) tellCrowds(ctx context.Context, doors []*admission) {
	var again <-chan time.Time // nil while there is no crowd
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.crowded:
		case <-again:
		}
		var list []Crowd
		for _, a := range doors {
			if c, ok := a.crowding(time.Now()); ok {
				list = append(list, c)
			}
		}
		if b.o.Crowded != nil {
			b.o.Crowded(list)
		}
		if again = nil; len(list) > 0 {
			again = time.After(crowdEvery)
		}
	}
}
