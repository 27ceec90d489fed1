package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
)

func datasync(f *os.File) error { return unix.Fdatasync(int(f.Fd())) }

const mib = 1 << 20

// devices of the backlogs; one more speaks beside them.
const devices = 30

// disk holds the bytes that reach the disk against those that were accepted, with upstream away.
func disk(ctx context.Context, o options) (results []verdict.Result, err error) {
	for _, payload := range []int{1024, small} {
		n := int(200_000 * o.scale)
		each, err := written(ctx, o, n, payload)
		if err != nil {
			return nil, err
		}
		fmt.Printf("  %d bytes: %.2f bytes written for each byte of payload\n", payload, each)
		if payload == 1024 {
			results = append(results, verdict.Result{
				Name:  fmt.Sprintf("disk: bytes written for a byte accepted, %d of 1 KiB", n),
				Got:   each,
				Bar:   4,
				Exact: true,
			})
		}
	}
	return results, nil
}

func written(ctx context.Context, o options, n, payload int) (float64, error) {
	h, err := newHouse(ctx, o, devices)
	if err != nil {
		return 0, err
	}
	defer h.Remove()
	if err := h.StartGateway(ctx); err != nil {
		return 0, err
	}
	from, err := h.Gateway.Written()
	if err != nil {
		return 0, err
	}
	fmt.Println("\ndisk")
	if err := h.fill(ctx, n, payload); err != nil {
		return 0, err
	}
	if err := rest(ctx); err != nil { // compactions that are under way
		return 0, err
	}
	to, err := h.Gateway.Written()
	return float64(to-from) / float64(n*payload), err
}

// rest is the time after which a gateway has gone quiet.
func rest(ctx context.Context) error {
	select {
	case <-time.After(30 * time.Second):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// backlog holds a start with a million messages, their way upstream, and the memory of three million.
func backlog(ctx context.Context, o options) ([]verdict.Result, error) {
	h, err := newHouse(ctx, o, devices+1)
	if err != nil {
		return nil, err
	}
	defer h.Remove()
	speaker := h.Clients[devices:]
	h.Clients = h.Clients[:devices]
	million := int(1_000_000 * o.scale)
	fmt.Println("\nbacklog")
	if err := errors.Join(h.startUpstream(ctx), h.StartGateway(ctx)); err != nil {
		return nil, err
	}
	idle, err := h.live(ctx, speaker, 10*time.Second)
	if err != nil {
		return nil, err
	}
	again, err := h.live(ctx, speaker, 10*time.Second)
	if err != nil {
		return nil, err
	}
	if err := rest(ctx); err != nil {
		return nil, err
	}
	none, err := h.memory("with none")
	if err != nil {
		return nil, err
	}
	h.broker.Kill()
	if err := h.fill(ctx, million, small); err != nil {
		return nil, err
	}
	if _, err := h.memory("right after accepting"); err != nil {
		return nil, err
	}
	if err := rest(ctx); err != nil {
		return nil, err
	}
	one, err := h.memory("with 1 million")
	if err != nil {
		return nil, err
	}
	var starts []float64
	for range 3 {
		took, err := h.ready(ctx)
		if err != nil {
			return nil, err
		}
		starts = append(starts, took.Seconds())
	}
	if err := rest(ctx); err != nil { // what a start has not read, it reads now
		return nil, err
	}
	if _, err := h.memory("after the start"); err != nil {
		return nil, err
	}
	busy := others()
	out, err := h.drain(ctx, speaker)
	if err != nil {
		return nil, err
	}
	busy = max(busy, others())
	if err := rest(ctx); err != nil {
		return nil, err
	}
	if _, err := h.memory("after it has gone"); err != nil {
		return nil, err
	}
	h.broker.Kill()
	if err := h.fill(ctx, 3*million, small); err != nil {
		return nil, err
	}
	if _, err := h.memory("right after accepting"); err != nil {
		return nil, err
	}
	if err := rest(ctx); err != nil {
		return nil, err
	}
	three, err := h.memory("with 3 million")
	if err != nil {
		return nil, err
	}
	p99 := (idle + again) / 2
	noise := max(idle-again, again-idle) / p99
	return []verdict.Result{
		{Name: "backlog: READY with 1 million after SIGKILL, s", Got: verdict.Median(starts), Bar: 1, Noise: verdict.Spread(starts)},
		{Name: "backlog: drain of 1 million, messages a second", Got: out.rate, Bar: 25_000, AtLeast: true, Noise: busy},
		{Name: "backlog: drain, µs CPU a message", Got: out.cpu, Bar: 32, Noise: busy},
		{Name: "backlog: drain, p99 of live traffic, of that without", Got: out.p99 / p99, Bar: 2, Noise: noise},
		{Name: "backlog: memory of 3 million above none, MiB", Got: three - none, Bar: 64, Exact: true},
		{Name: "backlog: memory of 3 million above 1 million, MiB", Got: three - one, Bar: 16, Exact: true},
		{Name: "backlog: left behind after the drain, messages", Got: float64(out.left), Exact: true},
	}, nil
}

// memory is RssAnon and RssShmem in MiB.
func (h *house) memory(when string) (float64, error) {
	m, err := h.Gateway.Memory()
	fmt.Printf("  %-22s RssAnon %6.1f MiB  RssShmem %.1f MiB  RssFile %6.1f MiB\n",
		when, float64(m.Anon)/mib, float64(m.Shared)/mib, float64(m.File)/mib)
	return float64(m.Anon+m.Shared) / mib, err
}

// ready kills the gateway and tells how long the next one takes until it says READY=1.
func (h *house) ready(ctx context.Context) (took time.Duration, err error) {
	h.Gateway.Kill()
	begun := time.Now()
	if h.Gateway, err = h.Start(filepath.Join(h.Bin(), "gatehoused"), "-config", h.File("gatehoused.yaml")); err != nil {
		return 0, err
	}
	if err := h.Gateway.Says(ctx, "gatehoused serves"); err != nil { // it logs this right after READY=1
		return 0, err
	}
	took = time.Since(begun)
	fmt.Printf("  READY after %v\n", took.Round(time.Millisecond))
	return took, nil
}

// others is the noise that other programs make: the spread of the times of the same piece of work.
func others() float64 {
	times := make([]float64, 20)
	for i := range times {
		begun := time.Now()
		sum := sha256.Sum256(nil)
		for range 200_000 {
			sum = sha256.Sum256(sum[:])
		}
		times[i] = time.Since(begun).Seconds()
	}
	return verdict.Spread(times)
}

// live is the p99 in milliseconds of the acknowledgements of 200 messages a second.
func (h *house) live(ctx context.Context, speaker []load.Client, d time.Duration) (float64, error) {
	x := publish(h.Target(false), speaker, small, 100, 0)
	x.Rate, x.Duration = 200, d
	r, err := x.Run(ctx)
	if err != nil {
		return 0, err
	}
	if r.AckMicros == nil || r.Acknowledged < r.Sent {
		return 0, fmt.Errorf("%d of %d live messages were acknowledged: %v", r.Acknowledged, r.Sent, r.Reasons)
	}
	fmt.Printf("  live traffic %.0f/s  p50 %.2f ms  p99 %.2f ms\n", r.AckedRate, float64(r.AckMicros.P50)/1000, float64(r.AckMicros.P99)/1000)
	return float64(r.AckMicros.P99) / 1000, nil
}

// drainage is how a backlog went.
type drainage struct {
	rate, cpu, p99 float64
	left           int64
}

// drain starts upstream, and lets the backlog go beside live traffic.
func (h *house) drain(ctx context.Context, speaker []load.Client) (d drainage, err error) {
	before, err := h.waiting(ctx)
	if err != nil {
		return d, err
	}
	if err := h.startUpstream(ctx); err != nil {
		return d, err
	}
	if err := h.Gateway.Until(ctx, func(ctx context.Context) error { // it waits between its attempts
		n, err := h.waiting(ctx)
		if err == nil && n == before {
			err = errors.New("nothing goes upstream")
		}
		return err
	}); err != nil {
		return d, err
	}
	if before, err = h.waiting(ctx); err != nil {
		return d, err
	}
	from, err := h.Gateway.CPU()
	if err != nil {
		return d, err
	}
	begun := time.Now()
	p99 := make(chan float64, 1)
	failed := make(chan error, 1)
	lives := max(time.Second, time.Duration(before/40)*time.Millisecond) // shorter than the drain at the rate of most machines
	go func() {
		v, err := h.live(ctx, speaker, lives)
		p99 <- v
		failed <- err
	}()
	if err := h.drained(ctx); err != nil {
		return d, err
	}
	took := time.Since(begun)
	to, err := h.Gateway.CPU()
	d.p99 = <-p99
	if err := errors.Join(err, <-failed); err != nil {
		return d, err
	}
	if err := h.drained(ctx); err != nil {
		return d, err
	}
	d.rate, d.cpu = float64(before)/took.Seconds(), float64((to-from)/time.Microsecond)/float64(before)
	d.left, err = h.waiting(ctx)
	fmt.Printf("  %d messages went in %v: %.0f/s, %.1f µs CPU a message\n", before, took.Round(time.Millisecond), d.rate, d.cpu)
	return d, err
}
