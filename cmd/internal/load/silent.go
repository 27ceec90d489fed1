package load

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Silent opens connections and says nothing on them, each until the broker closes it.
type Silent struct {
	Address string                 // host:port of the broker
	From    func(n int) netip.Addr // the local address of the n-th connection
	Rate    int                    // connections a second; 0: as fast as it can
	Count   int                    // in all; 0: until the context ends

	Opened, Failed, Closed atomic.Int64          // connections so far; Closed by the broker
	Failure                atomic.Pointer[error] // why the latest one of Failed failed
}

// Run opens them and returns when ctx has ended and the last one is closed.
func (s *Silent) Run(ctx context.Context) {
	var all sync.WaitGroup
	defer all.Wait()
	began := time.Now()
	for n := 0; s.Count == 0 || n < s.Count; n++ {
		if s.Rate > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(time.Until(began.Add(time.Duration(n) * time.Second / time.Duration(s.Rate)))):
			}
		}
		if ctx.Err() != nil {
			return
		}
		all.Go(func() { s.one(ctx, n) })
	}
}

// one is a connection until it is closed, by either side.
func (s *Silent) one(ctx context.Context, n int) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: s.From(n).AsSlice()}, Timeout: 10 * time.Second}
	c, err := d.DialContext(ctx, "tcp", s.Address)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return
	case errors.Is(err, syscall.ECONNRESET): // it was open, and closed before this process had its turn
		s.Opened.Add(1)
		s.Closed.Add(1)
		return
	default:
		s.Failed.Add(1)
		s.Failure.Store(&err)
		return
	}
	defer func() { _ = c.Close() }()
	s.Opened.Add(1)
	defer context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })()
	if _, err := c.Read(make([]byte, 1)); err != nil && ctx.Err() == nil {
		s.Closed.Add(1)
	}
}
