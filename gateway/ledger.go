package gateway

import (
	"maps"
	"sync"

	"github.com/gatehouse/gatehouse/gateway/audit"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/metrics"
)

// ledger is where every room's records arrive: counted by reason, then
// audited. The counters of a page that people look at are kept here; the same
// numbers go to Prometheus.
type ledger struct {
	audit   *audit.Log
	metrics *metrics.Set
	version func() string // policy version in force

	mu     sync.Mutex
	denied map[string]uint64 // by reason; guarded by mu; bounded by maxDeniedReasons
}

// maxDeniedReasons bounds the map: reasons are ours, but a bug must not grow it.
const maxDeniedReasons = 128

func newLedger(log *audit.Log, set *metrics.Set, version func() string) *ledger {
	return &ledger{audit: log, metrics: set, version: version, denied: map[string]uint64{}}
}

// Audit implements the broker's Auditor and serves every other room.
func (l *ledger) Audit(r message.Record) {
	if r.Version == "" {
		r.Version = l.version()
	}
	n := max(r.Count, 1)
	if r.Event == "connect" {
		result := r.Reason
		if r.Allowed {
			result = "accepted"
		}
		l.metrics.Connected(result, n)
	}
	if !r.Allowed {
		l.metrics.Denied(r.Reason, n)
		l.mu.Lock()
		if _, known := l.denied[r.Reason]; known || len(l.denied) < maxDeniedReasons {
			l.denied[r.Reason] += n
		} else {
			l.denied["other"] += n
		}
		l.mu.Unlock()
	}
	l.audit.Audit(r)
}

// DeniedByReason is a copy of the counters.
func (l *ledger) DeniedByReason() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.denied)
}
