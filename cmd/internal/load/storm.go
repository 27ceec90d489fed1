package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Storm connects clients as fast as it goes: each dials, shakes hands over TLS
// if there is any, and waits for its CONNACK.
type Storm struct {
	Target   Target
	Clients  []Client      // connection n is made by the client n modulo their number
	Count    int           // connections
	Parallel int           // under way at once
	Rate     float64       // new connections a second; 0: no limit
	Hold     time.Duration // how long all of them stay, once each was tried; 0: each is closed at once

	Progress     func(Progress)
	Begun, Ended func() // just before the first dial, and after the last answer
	// Left is called when connection n, which was held, has ended, whoever ended
	// it; on the connection's own goroutine.
	Left func(n int)
}

// StormResult is what became of the connections.
type StormResult struct {
	Attempted     int64            `json:"attempted"`
	Accepted      int64            `json:"accepted"`
	Failed        map[string]int64 `json:"failed"`  // by reason
	Closed        int64            `json:"closed"`  // while they were held, and not by this run
	Reasons       []string         `json:"reasons"` // of the first few of them
	Seconds       float64          `json:"seconds"` // until the last answer
	Rate          float64          `json:"acceptedPerSecond"`
	ConnectMicros *Latency         `json:"connectMicros,omitempty"` // dial to CONNACK
}

// Run makes the connections.
func (s *Storm) Run(ctx context.Context) (*StormResult, error) {
	if len(s.Clients) == 0 || s.Hold > 0 && s.Count > len(s.Clients) {
		return nil, fmt.Errorf("%d connections that are held need as many clients, and there are %d", s.Count, len(s.Clients))
	}
	h := &holding{Storm: s, failed: map[string]int64{}}
	if s.Begun != nil {
		s.Begun()
	}
	h.began = now()
	_ = each(s.Count, s.Parallel, func(i int) error { h.one(ctx, i); return nil })
	end := now()
	if s.Ended != nil {
		s.Ended()
	}
	res := &StormResult{
		Attempted:     h.tried.Load(),
		Accepted:      h.accepted.Load(),
		Failed:        h.failed,
		Seconds:       seconds(h.began, end),
		Rate:          rate(h.accepted.Load(), h.began, end),
		ConnectMicros: h.took.latency(),
		Reasons:       []string{},
	}
	h.hold(ctx, res)
	return res, nil
}

// holding is a Storm under way.
type holding struct {
	*Storm
	began           int64
	tried, accepted atomic.Int64
	took            recorder
	ended           sync.WaitGroup

	mu      sync.Mutex
	failed  map[string]int64 // guarded by mu
	clients []*client        // held; guarded by mu
}

func (h *holding) one(ctx context.Context, i int) {
	if h.Rate > 0 {
		due := h.began + int64(float64(i)/h.Rate*1e9)
		select {
		case <-time.After(time.Duration(due - now())):
		case <-ctx.Done():
		}
	}
	if ctx.Err() != nil {
		return
	}
	start := now()
	who := &h.Clients[i%len(h.Clients)]
	l, err := h.Target.dial(ctx, who, i, hello{})
	tried := h.tried.Add(1)
	if err != nil {
		h.mu.Lock()
		h.failed[reason(err)]++
		h.mu.Unlock()
	} else {
		h.took.record(i, now()-start)
		h.accepted.Add(1)
		h.keep(l, who, i)
	}
	if h.Progress != nil {
		h.Progress(Progress{
			Elapsed:     time.Duration(now() - h.began),
			Connected:   int(tried),
			ToBeReached: h.Count,
		})
	}
}

func (h *holding) keep(l *link, who *Client, i int) {
	if h.Hold == 0 {
		_, _ = l.conn.Write(bye)
		_ = l.conn.Close()
		return
	}
	c := &client{n: i, who: *who, l: l}
	h.ended.Add(1)
	l.run(c, c, func() {
		if h.Left != nil {
			h.Left(i)
		}
		h.ended.Done()
	})
	h.mu.Lock()
	h.clients = append(h.clients, c)
	h.mu.Unlock()
}

// hold waits, and counts whom the broker closed meanwhile.
func (h *holding) hold(ctx context.Context, res *StormResult) {
	if h.Hold == 0 {
		return
	}
	from := now()
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for ctx.Err() == nil && time.Duration(now()-from) < h.Hold {
		if h.Progress != nil {
			at := time.Duration(now() - from)
			h.Progress(Progress{Elapsed: at, Done: float64(at) / float64(h.Hold)})
		}
		<-ticker.C
	}
	for _, c := range h.clients {
		if err := c.l.reason(); err != nil {
			res.Closed++
			if len(res.Reasons) < 5 {
				res.Reasons = append(res.Reasons, c.who.ID+": "+err.Error())
			}
		}
	}
	_ = each(len(h.clients), 16, func(i int) error { h.clients[i].l.leave(); return nil })
	h.ended.Wait()
}

// reason is an error of connecting, without the addresses that would make each a kind of its own.
func reason(err error) string {
	var refused *Refused
	var errno syscall.Errno
	var op *net.OpError
	switch {
	case errors.As(err, &refused):
		return refused.Error()
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, io.EOF):
		return "closed without an answer"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}
