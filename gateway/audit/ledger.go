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

// Ledger receives the audit records of all parts of the gateway. It counts each by its reason,
// then writes it to the log. It also keeps the totals of refusals for the status page. Safe for
// concurrent use.
type Ledger struct {
	log      *Log
	counters Counters
	version  func() string
	// Connected, if set before the first record, is told of each record of an allowed CONNECT. It must not wait.
	Connected func(*message.AuditRecord)

	mu     sync.Mutex
	denied map[string]uint64 // by reason; guarded by mu; bounded by maxDeniedReasons
}

// maxDeniedReasons bounds denied. Reasons are constants of this program, but a bug must not
// make the map grow without end.
const maxDeniedReasons = 128

// NewLedger returns a Ledger that counts with counters and writes to log. version returns the
// policy version in force, which is set in each record that states none.
func NewLedger(log *Log, counters Counters, version func() string) *Ledger {
	return &Ledger{log: log, counters: counters, version: version, denied: map[string]uint64{}}
}

// Audit records r, which stands for r.Count events (one if that is 0).
func (l *Ledger) Audit(r message.AuditRecord) {
	if r.Version == "" {
		r.Version = l.version()
	}
	n := max(r.Count, 1)
	if r.Event == "connect" {
		result := r.Reason
		if r.Allowed {
			result = "accepted"
			if l.Connected != nil {
				l.Connected(&r)
			}
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

// DeniedByReason returns a copy of the totals of refusals since the start.
func (l *Ledger) DeniedByReason() map[string]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.denied)
}
