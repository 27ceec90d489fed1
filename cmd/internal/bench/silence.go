package main

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/verdict"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
)

// silence is 50 publishers and one reader, with and without three bad
// listeners: one that is away and whose queue is full, one that is connected
// and has stopped reading, and one that acknowledges one message every four
// seconds. The first ten seconds, in which the queue fills and the budgets of
// the others are spent, are left out.
func (h *hall) silence(ctx context.Context) ([]verdict.Result, error) {
	x := exchange(h.clients[:50], h.clients[50:51], 1, 0)
	x.Warmup = max(200*time.Millisecond, time.Duration(10*h.scale*float64(time.Second)))
	x.Duration = 2 * x.Warmup
	x.Target = h.target(h.gatehouse, false)
	beside := []load.Beside{
		{Client: h.clients[100], Habit: load.Reads, Away: true},
		{Client: h.clients[101], Habit: load.Stops},
		{Client: h.clients[102], Habit: load.Lingers},
	}
	run := func(beside []load.Beside) (*load.Result, error) {
		one := *x
		one.Beside = beside
		r, err := one.Run(ctx)
		switch {
		case err != nil:
			return nil, err
		case ctx.Err() != nil:
			return nil, ctx.Err()
		case r.AckMicros != nil && r.AckedRate > 0:
		case beside == nil:
			return nil, fmt.Errorf("nothing was acknowledged even without them: %d closed, %v", r.Closed, r.Reasons)
		default:
			fmt.Printf("  nothing was acknowledged after the first %v: %d closed, %d without an answer\n", x.Warmup, r.Closed, r.Unacknowledged)
			r.AckMicros = &load.Latency{P99: time.Hour.Microseconds()} // silence is the worst there is, and a figure like any other
		}
		return r, nil
	}
	var rates, waits, rateControl, waitControl []float64
	var lost int64
	fmt.Printf("\nsilence: 50 publishers and 1 reader, QoS 1\n")
	for range max(1, h.rounds/2) {
		var rate, p99 [3]float64
		for i, list := range [][]load.Beside{nil, beside, nil} {
			r, err := run(list)
			if err != nil {
				return nil, err
			}
			rate[i], p99[i] = r.AckedRate, float64(r.AckMicros.P99)
			lost += r.LostAcknowledged + int64(r.Closed)
			fmt.Printf("  %d beside  %9.0f /s acknowledged  p50 %8.2f ms  p99 %8.2f ms  %d lost although acknowledged  %d closed\n",
				len(list), rate[i], float64(r.AckMicros.P50)/1000, p99[i]/1000, r.LostAcknowledged, r.Closed)
		}
		rates, rateControl = append(rates, 2*rate[1]/(rate[0]+rate[2])), append(rateControl, rate[2]/rate[0])
		waits, waitControl = append(waits, 2*p99[1]/(p99[0]+p99[2])), append(waitControl, p99[2]/p99[0])
	}
	return []verdict.Result{
		{Name: "silence: lost although acknowledged, or closed", Got: float64(lost), Exact: true},
		{
			Name:    "silence: throughput, of that without them",
			Got:     verdict.Median(rates),
			Bar:     0.9,
			AtLeast: true,
			Noise:   verdict.Spread(rateControl),
		},
		{Name: "silence: p99, of that without them", Got: verdict.Median(waits), Bar: 1.5, Noise: verdict.Spread(waitControl)},
	}, nil
}
