package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
)

// sample is one run.
type sample struct {
	figures      map[figure]float64 // CPU in microseconds, rate a second, p50 in milliseconds
	p99          float64            // milliseconds
	lost, closed int64
	why          []string // of the first few that were closed
}

func (h *hall) run(ctx context.Context, b *broker, c *workload) (sample, error) {
	var from, to time.Duration
	var err1, err2 error
	begun := func() { from, err1 = b.CPU() }
	ended := func() { to, err2 = b.CPU() }
	s := sample{figures: map[figure]float64{}}
	var count int64
	var latency *load.Latency
	if c.storm != nil {
		x := *c.storm
		x.Target, x.Begun, x.Ended = h.target(b, c.secure), begun, ended
		r, err := x.Run(ctx)
		if err != nil {
			return s, err
		}
		count, latency = r.Accepted, r.ConnectMicros
		s.figures[perSec], s.lost = r.Rate, r.Attempted-r.Accepted
	} else {
		x := *c.exchange
		x.Target, x.Begun, x.Ended = h.target(b, c.secure), begun, ended
		r, err := x.Run(ctx)
		if err != nil {
			return s, err
		}
		count, latency = r.Received, r.DeliveryMicros
		s.figures[perSec], s.lost, s.closed = r.ReceivedRate, r.Lost, int64(r.Closed)
		s.why = r.Reasons
	}
	if ctx.Err() != nil {
		return s, ctx.Err()
	}
	for _, err := range []error{err1, err2} {
		if err != nil {
			return s, err
		}
	}
	if count == 0 || latency == nil {
		return s, fmt.Errorf("%s delivered nothing", b.name)
	}
	s.figures[cpuEach] = float64((to-from)/time.Microsecond) / float64(count)
	s.figures[p50], s.p99 = float64(latency.P50)/1000, float64(latency.P99)/1000
	return s, nil
}

// measure runs the rounds of one case and holds their ratios against its bars.
func (h *hall) measure(ctx context.Context, c workload) ([]verdict.Result, error) {
	conf := "mosquitto.conf"
	if c.nodelay {
		conf = "mosquitto-nodelay.conf"
	}
	peer, err := h.debian(ctx, conf)
	if err != nil {
		return nil, err
	}
	defer peer.Kill()
	var ours, again, debian, library []sample
	steps := []struct {
		b  *broker
		to *[]sample
	}{{h.gatehouse, &ours}, {peer, &debian}, {h.gatehouse, &again}}
	if h.library != nil && !c.secure {
		steps = append(steps, steps[0])
		steps[3].b, steps[3].to = h.library, &library
	}
	for range h.rounds {
		for _, s := range steps {
			got, err := h.run(ctx, s.b, &c)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.b.name, err)
			}
			*s.to = append(*s.to, got)
		}
	}
	fmt.Printf("\n%s\n", c.name)
	show("gatehouse", slices.Concat(ours, again))
	show("mosquitto", debian)
	show("mochi", library)
	sound := verdict.Result{Name: c.name + ": lost, or closed by Gatehouse", Got: float64(bad(ours) + bad(again)), Exact: true}
	results := []verdict.Result{sound}
	for _, bar := range c.bars {
		var ratios, control []float64
		for i := range ours {
			x, y, z := ours[i].figures[bar.what], debian[i].figures[bar.what], again[i].figures[bar.what]
			ratios, control = append(ratios, (x+z)/2/y), append(control, z/x)
		}
		r := verdict.Result{
			Name:    fmt.Sprintf("%s: %s, of mosquitto's", c.name, bar.what),
			Got:     verdict.Median(ratios),
			Bar:     bar.limit,
			AtLeast: bar.atLeast,
			Noise:   verdict.Spread(control),
		}
		if bar.aim > 0 {
			r.Note = fmt.Sprintf("aim %.2f", bar.aim)
		}
		if n := bad(debian); n > 0 {
			r.Note = strings.TrimSpace(fmt.Sprintf("%s; mosquitto lost or closed %d", r.Note, n))
		}
		results = append(results, r)
	}
	return results, nil
}

func bad(samples []sample) (n int64) {
	for _, s := range samples {
		n += s.lost + s.closed
	}
	return n
}

// show prints the medians of one broker.
func show(name string, samples []sample) {
	if len(samples) == 0 {
		return
	}
	of := func(f func(sample) float64) float64 {
		v := make([]float64, len(samples))
		for i, s := range samples {
			v[i] = f(s)
		}
		return verdict.Median(v)
	}
	fmt.Printf("  %-9s %8.2f µs CPU  %9.0f /s  p50 %8.2f ms  p99 %8.2f ms  %d lost  %d closed\n", name,
		of(func(s sample) float64 { return s.figures[cpuEach] }), of(func(s sample) float64 { return s.figures[perSec] }),
		of(func(s sample) float64 { return s.figures[p50] }), of(func(s sample) float64 { return s.p99 }),
		sum(samples, func(s sample) int64 { return s.lost }), sum(samples, func(s sample) int64 { return s.closed }))
	for _, s := range samples {
		if len(s.why) > 0 {
			fmt.Printf("            closed: %s\n", strings.Join(s.why, "; "))
			break
		}
	}
}

func sum(samples []sample, f func(sample) int64) (n int64) {
	for _, s := range samples {
		n += f(s)
	}
	return n
}
