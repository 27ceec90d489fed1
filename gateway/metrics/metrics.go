// Package metrics is the only package that imports Prometheus. Events are counted through Set,
// whose methods may be called from any goroutine and never block. Current values (queue
// lengths, ages, numbers of sessions) are read from Sources at each scrape.
//
// The number of label values is bounded: beyond maxReasons different ones, all others count as
// "other". Label values should never come from outside this program; the bound keeps a mistake
// in this from filling the memory.
package metrics

import (
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Registry is a Prometheus registry, under a name of this package so that no other package
// needs to import Prometheus.
type Registry = prometheus.Registry

// NewRegistry returns a registry with the process and Go collectors.
func NewRegistry() *Registry {
	r := prometheus.NewRegistry()
	r.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), collectors.NewGoCollector())
	return r
}

// Handler serves the registry in the Prometheus text format.
func Handler(r *Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{
		ErrorHandling:       promhttp.ContinueOnError,
		MaxRequestsInFlight: 4,
		Timeout:             10 * time.Second,
	})
}

// Set counts events.
type Set struct {
	denied, connects, syncs   *bounded
	decision, revocation, ack prometheus.Histogram
}

const (
	maxReasons = 96
	other      = "other"
)

// New makes all metrics and registers them with reg. It fails if reg already holds a metric of
// the same name.
func New(reg prometheus.Registerer, build Build, src Sources) (*Set, error) {
	s := &Set{decision: newHistogram(decisionSeconds), revocation: newHistogram(revocationSeconds), ack: newHistogram(ackSeconds)}
	cs := []prometheus.Collector{s.decision, s.revocation, s.ack, newGauges(build, src)}
	for _, c := range []struct {
		into **bounded
		decl declaration
	}{
		{&s.denied, messagesDenied}, {&s.connects, connections}, {&s.syncs, syncResults},
	} {
		*c.into = newBounded(c.decl)
		cs = append(cs, (*c.into).vec)
	}
	for i, c := range cs {
		if err := reg.Register(c); err != nil {
			for _, done := range cs[:i] {
				reg.Unregister(done)
			}
			return nil, err
		}
	}
	return s, nil
}

// Denied counts n refusals of an operation by the stable reason code.
func (s *Set) Denied(reason string, n uint64) { s.denied.inc(reason, float64(n)) }

// Connected counts n CONNECTs by their result: "accepted" or a reason code.
func (s *Set) Connected(result string, n uint64) { s.connects.inc(result, float64(n)) }

// Synced counts one round of the sync: "ok", "unchanged", or a failure's name.
func (s *Set) Synced(result string) { s.syncs.inc(result, 1) }

// Decided observes how long one decision took.
func (s *Set) Decided(d time.Duration) { s.decision.Observe(d.Seconds()) }

// Revoked observes the time from receiving a change to its confirmation.
func (s *Set) Revoked(d time.Duration) { s.revocation.Observe(d.Seconds()) }

// Acked observes the time from a QoS >= 1 publish to its durable ack.
func (s *Set) Acked(d time.Duration) { s.ack.Observe(d.Seconds()) }

// bounded is a counter with one label and a bounded number of label values. It keeps the
// counter of each value, because a lookup in the vector hashes the label each time.
type bounded struct {
	vec *prometheus.CounterVec

	mu   sync.RWMutex
	seen map[string]prometheus.Counter // guarded by mu
}

func newBounded(d declaration) *bounded {
	return &bounded{
		vec:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: d.name, Help: d.help}, []string{d.label}),
		seen: map[string]prometheus.Counter{},
	}
}

func (b *bounded) inc(value string, n float64) {
	b.mu.RLock()
	c := b.seen[value]
	b.mu.RUnlock()
	if c == nil {
		c = b.add(value)
	}
	c.Add(n)
}

func (b *bounded) add(value string) prometheus.Counter {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.seen) >= maxReasons || len(value) > 64 || value == "" {
		value = other
	}
	c := b.seen[value]
	if c == nil {
		c = b.vec.WithLabelValues(value)
		b.seen[value] = c
	}
	return c
}
