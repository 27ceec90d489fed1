package audit

import (
	"maps"
	"sync"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Counters take the totals that a scrape reads (gateway/metrics.Set).
type Counters interface {
	Connected(result string, n uint64)
	Denied(reason string, n uint64)
}

// Ledger is where every room's records arrive: each is counted by its reason,
// then written to the log. The totals of refusals are also kept here, for the
// status page. Safe for concurrent use.
type Ledger struct {
	log      *Log
	counters Counters
	version  func() string

	mu     sync.Mutex
	denied map[string]uint64 // by reason; guarded by mu; bounded by maxDeniedReasons
}

// maxDeniedReasons bounds the map: reasons are ours, but a bug must not grow it.
const maxDeniedReasons = 128

// NewLedger counts with counters and writes to log. version is the policy
// version in force, noted with each record that names none.
func NewLedger(log *Log, counters Counters, version func() string) *Ledger {
	return &Ledger{log: log, counters: counters, version: version, denied: map[string]uint64{}}
}

// Audit takes one record. A record with a Count stands for that many events.
func (l *Ledger) Audit(r message.AuditRecord) {
	if r.Version == "" {
		r.Version = l.version()
	}
	n := max(r.Count, 1)
	if r.Event == "connect" {
		result := r.Reason
		if r.Allowed {
			result = "accepted"
		}
		l.counters.Connected(result, n)
	}
	if !r.Allowed {
		l.counters.Denied(r.Reason, n)
		l.deny(r.Reason, n)
	}
	l.log.Audit(r)
}

func (l *Ledger) deny(reason string, n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.denied[reason]; !known && len(l.denied) >= maxDeniedReasons {
		reason = "other"
	}
	l.denied[reason] += n
}

// DeniedByReason is a copy of the totals since the start.
func (l *Ledger) DeniedByReason() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.denied)
}
