package audit

import (
	"fmt"
	"maps"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// totals stand for the metrics.
type totals map[string]uint64

func (t totals) Connected(result string, n uint64) { t["connected "+result] += n }
func (t totals) Denied(reason string, n uint64)    { t["denied "+reason] += n }

// Each record is counted once for every event that it stands for, and written
// with the policy version by which it was decided.
func TestLedgerCountsAndWrites(t *testing.T) {
	log, counted := New(Options{Ring: 16}), totals{}
	l := NewLedger(log, counted, func() string { return "1.7" })
	let := 0
	l.Connected = func(r *message.AuditRecord) {
		if let++; !r.Allowed || r.Event != "connect" {
			t.Errorf("told of %+v as of an allowed connect", r)
		}
	}
	defer func() {
		if let != 1 {
			t.Errorf("told of %d allowed connects, want 1", let)
		}
	}()
	l.Audit(message.AuditRecord{Event: "connect", Allowed: true, Reason: "granted"})
	l.Audit(message.AuditRecord{Event: "connect", Reason: "expired", Version: "1.6"})
	l.Audit(message.AuditRecord{Event: "publish", Reason: "no-row", Count: 5})
	l.Audit(message.AuditRecord{Event: "publish", Allowed: true, Reason: "granted", Count: 3})
	want := totals{"connected accepted": 1, "connected expired": 1, "denied expired": 1, "denied no-row": 5}
	if !maps.Equal(counted, want) {
		t.Errorf("counted %v, want %v", counted, want)
	}
	if got := l.DeniedByReason(); !maps.Equal(got, map[string]uint64{"expired": 1, "no-row": 5}) {
		t.Errorf("denied %v", got)
	}
	written := log.Recent(16, nil)
	if len(written) != 4 || written[0].Version != "1.7" || written[1].Version != "1.6" {
		t.Errorf("written %+v", written)
	}
}

// A bug that makes up reasons does not grow the totals without end.
func TestLedgerIsBounded(t *testing.T) {
	l := NewLedger(New(Options{}), totals{}, func() string { return "" })
	for i := range 10 * maxDeniedReasons {
		l.Audit(message.AuditRecord{Event: "publish", Reason: fmt.Sprint("reason ", i)})
	}
	if got := l.DeniedByReason(); len(got) != maxDeniedReasons+1 || got["other"] != 9*maxDeniedReasons {
		t.Errorf("%d reasons, %d others", len(got), got["other"])
	}
}
