package main

import (
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
)

// workload is one kind of load. Either exchange or storm is set.
type workload struct {
	name     string
	secure   bool // over TLS: not for the library, which has no such listener here
	nodelay  bool // mosquitto with TCP_NODELAY
	exchange *load.Exchange
	storm    *load.Storm
	bars     []bar
}

// bar is what the ratio of Gatehouse to mosquitto is held against.
type bar struct {
	what    figure
	limit   float64
	aim     float64 // what is aimed at beyond the bar; 0: nothing is said
	atLeast bool
}

// figure is one that both brokers have.
type figure string

const (
	cpuEach figure = "CPU a delivery"
	perSec  figure = "rate"
	p50     figure = "p50"
)

const payload = 100

// cases are those of the bars. The first clients publish, the next receive.
func cases(b *building, scale float64) []workload {
	n := func(count float64) uint32 { return uint32(max(5, count*scale)) }
	in := func(qos byte, count float64) *load.Exchange {
		return exchange(b.clients[:50], b.clients[50:51], qos, n(count))
	}
	out := func(qos byte, count float64) *load.Exchange {
		return exchange(b.clients[:1], b.clients[50:100], qos, n(count))
	}
	fixed := in(1, 2000)
	fixed.Rate = 20_000
	cpu := func(limit, aim float64) []bar { return []bar{{what: cpuEach, limit: limit, aim: aim}} }
	return []workload{
		{name: "QoS 0 fan-in", exchange: in(0, 8000), bars: cpu(0.25, 0.20)},
		{name: "QoS 1 fan-in", exchange: in(1, 5000), bars: cpu(0.30, 0.25)},
		{name: "QoS 2 fan-in", exchange: in(2, 2500), bars: cpu(0.33, 0.28)},
		{name: "QoS 1 fan-out", exchange: out(1, 5000), bars: cpu(0.25, 0.20)},
		{name: "QoS 0 fan-out", exchange: out(0, 8000), bars: cpu(0.13, 0.10)},
		{name: "fixed rate, QoS 1", nodelay: true, exchange: fixed,
			bars: []bar{{what: cpuEach, limit: 1.1, aim: 0.9}, {what: p50, limit: 1}}},
		{name: "TLS fan-in, QoS 1", secure: true, exchange: in(1, 5000), bars: cpu(0.28, 0.23)},
		{name: "TLS connects", secure: true,
			storm: &load.Storm{Clients: b.clients[:100], Count: int(n(2000)), Parallel: 16},
			bars:  []bar{{what: perSec, limit: 5, atLeast: true}, {what: cpuEach, limit: 0.55}}},
	}
}

// exchange bounds how far a publisher of QoS 0 may be ahead of the receivers:
// at more than they can keep up with every broker drops, and what is dropped
// costs no delivery.
func exchange(publishers, subscribers []load.Client, qos byte, count uint32) *load.Exchange {
	x := &load.Exchange{
		Publishers:   publishers,
		Subscribers:  subscribers,
		Topic:        func(_ int, c load.Client) string { return "bench/" + c.ID },
		Filter:       "bench/+",
		QoS:          qos,
		SubscribeQoS: qos,
		Payload:      payload,
		Window:       20,
		Count:        count,
		Drain:        10 * time.Second,
	}
	if qos == 0 {
		x.Lead = 100
	}
	return x
}
