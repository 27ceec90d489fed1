package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/rig"
	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
)

// small is the payload in bytes of most parts.
const small = 100

// loads are those of the bars, by how many messages are under way.
var loads = []struct {
	clients, window int
	count           float64 // of all clients together
	bar             float64 // of the bridge's rate
}{
	{1, 100, 60_000, 0.7},
	{100, 1, 60_000, 0.5},
	{100, 20, 200_000, 1.5},
}

// sample is one run.
type sample struct {
	rate, p50, p99 float64 // a second; milliseconds
	cpu            float64 // microseconds a message, of the process that accepts
	lost           int64
}

// accept holds the rate at which publishes are acknowledged, each synced, against that of a bridge
// that syncs nothing. Both forward while they accept; what arrives upstream is counted.
func accept(ctx context.Context, o options) ([]verdict.Result, error) {
	h, err := newHouse(ctx, o, 100)
	if err != nil {
		return nil, err
	}
	defer h.Remove()
	if err := errors.Join(h.startUpstream(ctx), h.startBridge(ctx), h.StartGateway(ctx)); err != nil {
		return nil, err
	}
	var results []verdict.Result
	lost := int64(0)
	for _, l := range loads {
		each := uint32(max(1, l.count*o.scale/float64(l.clients)))
		run := func(t load.Target, p *rig.Program) (sample, error) {
			return h.through(ctx, publish(t, h.Clients[:l.clients], small, l.window, each), p)
		}
		var first, again, bridge []sample
		var bare []float64
		for range o.rounds {
			for _, step := range []struct {
				t  load.Target
				p  *rig.Program
				to *[]sample
			}{
				{h.Target(false), h.Gateway, &first},
				{at(h.bridgePort), h.bridge, &bridge},
				{h.Target(false), h.Gateway, &again},
			} {
				s, err := run(step.t, step.p)
				if err != nil {
					return nil, err
				}
				*step.to = append(*step.to, s)
			}
			b, err := appendLoop(h.Dir, l.clients*l.window)
			if err != nil {
				return nil, err
			}
			bare = append(bare, b)
		}
		name := fmt.Sprintf("%d clients, window %d", l.clients, l.window)
		fmt.Printf("\n%s\n", name)
		show("gatehouse", slices.Concat(first, again))
		show("bridge", bridge)
		fmt.Printf("  append + fdatasync of %d at once %9.0f /s\n", l.clients*l.window, verdict.Median(bare))
		var ratios, control, bareRatios []float64
		for i := range first {
			ratios = append(ratios, (first[i].rate+again[i].rate)/2/bridge[i].rate)
			bareRatios = append(bareRatios, (first[i].rate+again[i].rate)/2/bare[i])
			control = append(control, again[i].rate/first[i].rate)
			lost += first[i].lost + again[i].lost
		}
		results = append(results, verdict.Result{
			Name:    "durable accept, " + name + ": rate, of the bridge's",
			Got:     verdict.Median(ratios),
			Bar:     l.bar,
			AtLeast: true,
			Noise:   verdict.Spread(control),
			Note:    fmt.Sprintf("%.2f of append + fdatasync", verdict.Median(bareRatios)),
		})
	}
	return append(results, verdict.Result{
		Name:  "durable accept: acknowledged, and not arrived upstream",
		Got:   float64(lost),
		Exact: true,
	}), nil
}

// through runs x and waits until upstream has got all of it.
func (h *house) through(ctx context.Context, x *load.Exchange, p *rig.Program) (s sample, err error) {
	expected := uint32(len(x.Publishers)) * x.Count
	arrived := make(chan *load.Result, 1)
	subscribed := make(chan struct{})
	sink := &load.Exchange{
		Target:       at(h.up),
		Subscribers:  []load.Client{{ID: "sink"}},
		Filter:       "devices/#",
		SubscribeQoS: 1,
		Payload:      x.Payload,
		Count:        expected,
		Duration:     5 * time.Minute,
		Drain:        10 * time.Second,
		Begun:        func() { close(subscribed) },
	}
	failed := make(chan error, 1)
	go func() {
		r, err := sink.Run(ctx)
		if err != nil {
			failed <- err
			return
		}
		arrived <- r
	}()
	select {
	case <-subscribed:
	case err := <-failed:
		return s, err
	}
	from, err := p.CPU()
	if err != nil {
		return s, err
	}
	r, err := x.Run(ctx)
	if err != nil {
		return s, err
	}
	var up *load.Result
	select {
	case up = <-arrived:
	case err := <-failed:
		return s, err
	}
	to, err := p.CPU()
	if err != nil {
		return s, err
	}
	if r.AckMicros == nil || r.Acknowledged == 0 {
		return s, fmt.Errorf("nothing was acknowledged: %v", r.Reasons)
	}
	s.rate, s.p50, s.p99 = r.AckedRate, float64(r.AckMicros.P50)/1000, float64(r.AckMicros.P99)/1000
	s.cpu = float64((to-from)/time.Microsecond) / float64(r.Acknowledged)
	s.lost = max(0, r.Acknowledged-(up.Received-up.Duplicated))
	return s, nil
}

func show(name string, samples []sample) {
	of := func(f func(sample) float64) float64 {
		var v []float64
		for _, s := range samples {
			v = append(v, f(s))
		}
		return verdict.Median(v)
	}
	fmt.Printf("  %-9s %9.0f /s  p50 %8.2f ms  p99 %8.2f ms  %6.2f µs CPU a message, forwarding included  %.0f lost\n", name,
		of(func(s sample) float64 { return s.rate }), of(func(s sample) float64 { return s.p50 }), of(func(s sample) float64 { return s.p99 }),
		of(func(s sample) float64 { return s.cpu }), of(func(s sample) float64 { return float64(s.lost) }))
}

// appendLoop is how many records a second a file takes that is synced after so many of them.
func appendLoop(dir string, together int) (perSecond float64, err error) {
	f, err := os.CreateTemp(dir, "append")
	if err != nil {
		return 0, err
	}
	defer func() { _ = errors.Join(f.Close(), os.Remove(f.Name())) }()
	record := make([]byte, small*together)
	n, begun := 0, time.Now()
	for time.Since(begun) < time.Second {
		if _, err := f.Write(record); err != nil {
			return 0, err
		}
		if err := datasync(f); err != nil {
			return 0, err
		}
		n += together
	}
	return float64(n) / time.Since(begun).Seconds(), nil
}
