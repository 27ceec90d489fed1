package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/rig"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

// spare is how many devices beyond those with sessions there are, whose
// assignments are what changes beside it.
const spare = 500

// patience is how long an end is waited for.
const patience = 10 * time.Second

// tally is what became of a case.
type tally struct {
	took     []float64 // milliseconds, in order of the revocations
	early    int       // ended before the answer came
	survived int       // did not end within patience
	wrong    int       // ended, and held its right
	changed  int64     // other assignments
	flooded  int64     // requests of the flood that were answered
	refused  int64     // of them by 429
	elapsed  time.Duration
}

// sessions are the live connections of a case.
type sessions struct {
	*rig.Site
	token string
	ended []chan time.Time // by number of the client; gets the time of its end
	gone  atomic.Int64     // connections that have ended
}

func measure(ctx context.Context, bin string, c workload) (*tally, error) {
	count := c.sessions + c.revoked
	devices := count
	if c.changes > 0 {
		devices += spare
	}
	o := rig.Options{Bin: bin, Devices: devices, RequestsPerSecond: 10_000}
	if c.flood > 0 {
		o.RequestsPerSecond = 0
	}
	r, err := rig.New(o)
	if err != nil {
		return nil, err
	}
	defer r.Remove()
	if err := r.StartCloud(ctx); err != nil {
		return nil, err
	}
	if err := r.StartGateway(ctx); err != nil {
		return nil, err
	}
	s := &sessions{Site: r, ended: make([]chan time.Time, count)}
	for i := range s.ended {
		s.ended[i] = make(chan time.Time, 1)
	}
	if s.token, err = r.Token(ctx, site.Management, site.Owner); err != nil {
		return nil, err
	}
	var t *tally
	err = s.with(ctx, count, func(ctx context.Context) (err error) {
		t, err = s.revoke(ctx, c)
		return err
	})
	return t, err
}

// with runs f while count clients are connected.
func (s *sessions) with(ctx context.Context, count int, f func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	connected := make(chan struct{})
	var during error
	go func() {
		defer cancel() // ends the holding
		select {
		case <-connected:
			during = f(ctx)
		case <-ctx.Done():
		}
	}()
	storm := load.Storm{
		Target:   s.Target(false),
		Clients:  s.Clients[:count],
		Count:    count,
		Parallel: 16,
		Hold:     time.Hour,
		Ended:    func() { close(connected) },
		Left: func(n int) {
			s.ended[n] <- time.Now()
			s.gone.Add(1)
		},
	}
	r, err := storm.Run(ctx)
	switch {
	case err != nil:
		return err
	case during != nil:
		return during
	case r.Accepted < int64(count):
		return fmt.Errorf("%d of %d clients were accepted: %v", r.Accepted, count, r.Failed)
	}
	return nil
}

// revoke takes the right from one session after the other, and changes other
// assignments beside it, both evenly over the case's time.
func (s *sessions) revoke(ctx context.Context, c workload) (*tally, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t := new(tally)
	var beside sync.WaitGroup
	var changing error
	start := time.Now()
	if c.changes > 0 {
		beside.Go(func() {
			if changing = s.change(ctx, c, &t.changed); changing != nil {
				cancel()
			}
		})
	}
	flooding, dry := context.WithCancel(ctx)
	defer dry()
	var drowned error
	if c.flood > 0 {
		beside.Go(func() { drowned = s.flood(flooding, c.flood, t) })
	}
	var failed error
	for i := range c.revoked {
		if failed = pause(ctx, start.Add(time.Duration(i)*c.over/time.Duration(c.revoked))); failed != nil {
			break
		}
		if failed = s.one(ctx, i, t); failed != nil {
			break
		}
	}
	dry()
	beside.Wait()
	t.elapsed = time.Since(start)
	t.wrong = int(s.gone.Load()) - len(t.took)
	return t, errors.Join(changing, failed, drowned)
}

// one deletes the assignment of the i-th client and waits for the end of its session.
func (s *sessions) one(ctx context.Context, i int, t *tally) error {
	if err := s.call(ctx, http.MethodDelete, "/roleassignments/"+rig.AssignmentID(i), nil, nil); err != nil {
		return err
	}
	answered := time.Now()
	select {
	case end := <-s.ended[i]:
		took := end.Sub(answered)
		if took < 0 {
			took = 0
			t.early++
		}
		t.took = append(t.took, float64(took)/float64(time.Millisecond))
	case <-time.After(patience):
		t.survived++
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}

// change takes and gives back assignments of devices that have no session.
func (s *sessions) change(ctx context.Context, c workload, done *int64) error {
	ids := make([]string, spare)
	first := c.sessions + c.revoked
	for i := range ids {
		ids[i] = rig.AssignmentID(first + i)
	}
	const workers = 4 // one after the other might not be fast enough
	var all sync.WaitGroup
	errs := make([]error, workers)
	start := time.Now()
	for w := range workers {
		all.Go(func() {
			for n := w; n < c.changes && errs[w] == nil; n += workers {
				if pause(ctx, start.Add(time.Duration(n)*c.over/time.Duration(c.changes))) != nil {
					return
				}
				if errs[w] = s.flip(ctx, first, ids, n, workers); errs[w] == nil {
					atomic.AddInt64(done, 1)
				}
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

// flip takes or gives back one assignment. Each worker has its own of them.
func (s *sessions) flip(ctx context.Context, first int, ids []string, n, workers int) error {
	mine := len(ids) / workers
	turn := n / workers
	i := n%workers*mine + turn%mine
	if turn/mine%2 == 0 {
		return s.call(ctx, http.MethodDelete, "/roleassignments/"+ids[i], nil, nil)
	}
	return s.call(ctx, http.MethodPost, "/roleassignments", map[string]string{
		"roleId":       rig.Role,
		"objectId":     rig.RecordID(first + i),
		"objectIdType": "DeviceId",
		"path":         site.GatewaySpace,
	}, &ids[i])
}

func (s *sessions) call(ctx context.Context, method, path string, body, into any) error {
	_, err := s.CallWith(ctx, s.token, method, path, body, into)
	return err
}

func pause(ctx context.Context, until time.Time) error {
	select {
	case <-time.After(time.Until(until)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
