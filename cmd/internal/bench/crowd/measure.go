package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/rig"
	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
)

// tally is what became of a case.
type tally struct {
	took         []float64 // milliseconds until the CONNACK, of the devices that were in within the bar
	tries        int       // connections of all devices
	out          int       // devices that were not in
	why          error     // of one of them
	quiet, along []float64 // milliseconds of a neighbour's ping, without the crowd and beside it
	crowd        *load.Silent
	elapsed      time.Duration // of the crowd
	cpu          time.Duration // of the gateway, beside the crowd
	empty, held  rig.Memory    // of the gateway, without the crowd and beside it
}

func (t *tally) print(w *workload) {
	if len(t.took) > 0 {
		fmt.Printf("  %d devices in: p50 %.0f ms, p99 %.0f ms, at most %.0f ms, with %d connections\n",
			len(t.took), verdict.Median(t.took), verdict.Quantile(t.took, 0.99), slices.Max(t.took), t.tries)
	}
	if t.out > 0 {
		fmt.Printf("  %d devices were not in within %v, for example: %v\n", t.out, w.bar, t.why)
	}
	fmt.Printf("  a neighbour's ping: p50 %.2f ms, p99 %.2f ms; beside the crowd p50 %.2f ms, p99 %.2f ms\n",
		verdict.Median(t.quiet), verdict.Quantile(t.quiet, 0.99), verdict.Median(t.along), verdict.Quantile(t.along, 0.99))
	const mib = 1 << 20
	fmt.Printf("  the crowd: %.0f connections a second, %d failed; the gateway used %.0f %% of a CPU, and %d MiB instead of %d\n",
		float64(t.crowd.Opened.Load())/t.elapsed.Seconds(), t.crowd.Failed.Load(), 100*t.cpu.Seconds()/t.elapsed.Seconds(),
		t.held.Anon/mib, t.empty.Anon/mib)
	if why := t.crowd.Failure.Load(); why != nil {
		fmt.Printf("  for example: %v\n", *why)
	}
}

func (t *tally) results(w *workload) []verdict.Result {
	slowest := verdict.Result{
		Name:  fmt.Sprintf("%s: the slowest of %d devices, ms", w.name, w.devices),
		Got:   math.Inf(1),
		Bar:   float64(w.bar) / float64(time.Millisecond),
		Exact: true, // one device that is late is one too many, however noisy the machine is
	}
	if t.out == 0 {
		slowest.Got = slices.Max(t.took)
	}
	if rate := float64(t.crowd.Opened.Load()) / t.elapsed.Seconds(); rate < 0.9*float64(w.rate) { // it was another load than the bar is for
		slowest.Exact, slowest.Noise, slowest.Note = false, math.Inf(1), fmt.Sprintf("the crowd were %.0f a second", rate)
	}
	return []verdict.Result{slowest}
}

// house is a gateway with its cloud, and the devices.
type house struct {
	*rig.Site
	secure *tls.Config
	to     string
}

func measure(ctx context.Context, bin string, w *workload) (*tally, error) {
	r, err := rig.New(rig.Options{Bin: bin, Devices: w.devices + 1})
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
	target := r.Target(true)
	h := &house{Site: r, secure: target.TLS, to: target.Address}
	if w.before {
		if early := h.enter(ctx, w); early.out > 0 {
			return nil, fmt.Errorf("without a crowd %d devices could not connect: %w", early.out, early.why)
		}
	}
	return h.beside(ctx, w)
}

// beside lets the devices of a case connect beside its crowd.
func (h *house) beside(ctx context.Context, w *workload) (*tally, error) {
	neighbour, err := h.connect(ctx, &workload{network: 220}, w.devices)
	if err != nil {
		return nil, fmt.Errorf("the neighbour: %w", err)
	}
	defer func() { _ = neighbour.Close() }()
	quiet, err := pings(ctx, neighbour, 2*time.Second)
	if err != nil {
		return nil, err
	}
	crowd := &load.Silent{Address: h.to, From: w.from, Rate: w.rate}
	standing, disperse := context.WithCancel(ctx)
	var beside sync.WaitGroup
	defer beside.Wait()
	defer disperse()
	began := time.Now()
	before, err := h.Gateway.CPU()
	empty, err1 := h.Gateway.Memory()
	if err = errors.Join(err, err1); err != nil {
		return nil, err
	}
	beside.Go(func() { crowd.Run(standing) })
	if err := pause(ctx, 3*time.Second); err != nil { // the door is full for long then
		return nil, err
	}
	var along []float64
	var pinged error
	beside.Go(func() { along, pinged = pings(standing, neighbour, time.Hour) })
	t := h.enter(ctx, w)
	if err := pause(ctx, 2*time.Second); err != nil {
		return nil, err
	}
	after, err := h.Gateway.CPU()
	held, err1 := h.Gateway.Memory()
	t.elapsed, t.cpu = time.Since(began), after-before
	disperse()
	beside.Wait()
	t.quiet, t.along, t.crowd, t.empty, t.held = quiet, along, crowd, empty, held
	return t, errors.Join(err, err1, pinged, ctx.Err())
}

// enter lets all devices of a case connect, as many at once as it says, and leave when all are in.
func (h *house) enter(ctx context.Context, w *workload) *tally {
	t := new(tally)
	var mu sync.Mutex // guards t and in
	var in []net.Conn
	turn := make(chan struct{}, w.at)
	var all sync.WaitGroup
	for i := range w.devices {
		turn <- struct{}{}
		all.Go(func() {
			defer func() { <-turn }()
			began := time.Now()
			c, tries, err := h.insist(ctx, w, i)
			took := time.Since(began)
			mu.Lock()
			defer mu.Unlock()
			t.tries += tries
			if err != nil {
				t.out, t.why = t.out+1, err
				return
			}
			t.took = append(t.took, float64(took)/float64(time.Millisecond))
			in = append(in, c)
		})
	}
	all.Wait()
	for _, c := range in {
		_ = c.Close()
	}
	return t
}

// insist connects a device, again whenever it is closed, until the case's bar.
func (h *house) insist(ctx context.Context, w *workload, i int) (c net.Conn, tries int, err error) {
	ctx, cancel := context.WithTimeout(ctx, w.bar)
	defer cancel()
	last := error(nil)
	for ctx.Err() == nil {
		tries++
		if c, err = h.connect(ctx, w, i); err == nil {
			return c, tries, nil
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
	}
	return nil, tries, last
}

// connect is one try of a device: TLS, CONNECT, CONNACK.
func (h *house) connect(ctx context.Context, w *workload, i int) (net.Conn, error) {
	raw, err := dial(ctx, w.home(i), h.to, w.trip)
	if err != nil {
		return nil, err
	}
	secure := h.secure.Clone()
	secure.MaxVersion = w.tls
	c := tls.Client(raw, secure)
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()
	if err := h.introduce(c, i); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

func (h *house) introduce(c net.Conn, i int) error {
	d := &h.Clients[i]
	body := text(nil, "MQTT")
	body = append(body, 4, 0xc2, 0, 0) // 3.1.1; user name, password, clean; no keep alive
	body = text(text(text(body, d.ID), d.User), d.Password)
	if _, err := c.Write(append([]byte{0x10, byte(len(body)&0x7f | 0x80), byte(len(body) >> 7)}, body...)); err != nil {
		return err
	}
	var ack [4]byte
	if _, err := io.ReadFull(c, ack[:]); err != nil {
		return err
	}
	if ack != [4]byte{0x20, 2, 0, 0} {
		return fmt.Errorf("CONNACK %x", ack)
	}
	return nil
}

func text(to []byte, s string) []byte { return append(append(to, byte(len(s)>>8), byte(len(s))), s...) }

// pings asks a ping every 10 ms for so long, or until ctx ends, and returns what each took in milliseconds.
func pings(ctx context.Context, c net.Conn, d time.Duration) ([]float64, error) {
	var took []float64
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-ctx.Done():
			return took, nil
		case <-tick.C:
		}
		began := time.Now()
		if _, err := c.Write([]byte{0xc0, 0}); err != nil {
			return nil, fmt.Errorf("the neighbour: %w", err)
		}
		var pong [2]byte
		if _, err := io.ReadFull(c, pong[:]); err != nil {
			return nil, fmt.Errorf("the neighbour: %w", err)
		}
		took = append(took, float64(time.Since(began))/float64(time.Millisecond))
	}
	return took, nil
}
