// Package audit records decisions and events. It keeps the latest records in memory, writes all
// of them as JSON lines to a file that rotates and to the log, and passes them to followers as
// they happen.
//
// Audit never waits and does no I/O: it holds mu briefly. The rate of records is limited for
// each principal. Records above the rate are counted, and the count is written within seconds
// as one record whose Count says how many records it stands for. Once Run has returned, the
// Counts of all records add up to the number of calls of Audit. If the file cannot be written
// fast enough, or at all, lines are missing from the file but not from the counts: a record
// with the reason "records-missed" says how many.
//
// Allowed connects have limits of their own (see arrivalBurst) and are kept apart, in memory and on
// disk, so that they never push a denial out.
//
// A refused CONNECT proves no principal, and a client could claim a new name each time. Its
// records are therefore limited by the address that it came from.
package audit

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Options of a Log. The zero value of a field means its default.
type Options struct {
	Logger *slog.Logger // where records also go; nil: nowhere
	// File takes JSON lines; "": none. Allowed connects go to one of their own beside it, whose
	// name has ".connects" before the extension.
	File string
	// MaxSize is the size at which File is rotated (16 MiB), Keep how many
	// old files stay (4). For the file of allowed connects it is a quarter of MaxSize.
	MaxSize int64
	Keep    int
	// Rate is how many records a second are written for one principal (default 5), and Burst how
	// many at once (default 4*Rate, at least 10).
	Rate  float64
	Burst float64
	Ring  int // records kept in memory (2048), and a quarter as many allowed connects
	Now   func() time.Time
	// FileError is called with an error when writing File begins to fail, and with nil when it
	// works again. It is called by Run's goroutine.
	FileError func(error)
}

const (
	maxPrincipals = 8192 // principals with a limiter of their own; the others share one
	maxPending    = 32   // kinds of suppressed records that are counted separately for one principal
	maxText       = 512  // bytes of a text that a client chose
	queueLength   = 4096 // records between Audit and the writer
	flushEvery    = time.Second
)

// Log is the audit log. Use New.
type Log struct {
	o     Options
	queue chan message.AuditRecord

	missed     atomic.Uint64 // since the last "records-missed" record
	missedAll  atomic.Uint64
	suppressed atomic.Uint64
	total      atomic.Uint64

	mu        sync.Mutex
	budget                           // of all records but allowed connects; guarded by mu
	arrivals  budget                 // of allowed connects; guarded by mu
	emitted   uint64                 // records; guarded by mu
	ring      ring                   // guarded by mu
	connects  ring                   // allowed connects; guarded by mu
	followers map[*Follower]struct{} // guarded by mu
}

// New returns a log that keeps records in memory at once and writes them
// while Run runs.
func New(o Options) *Log {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Rate <= 0 {
		o.Rate = 5
	}
	if o.Burst <= 0 {
		o.Burst = max(10, 4*o.Rate)
	}
	if o.Ring <= 0 {
		o.Ring = 2048
	}
	if o.MaxSize <= 0 {
		o.MaxSize = 16 << 20
	}
	if o.Keep <= 0 {
		o.Keep = 4
	}
	l := &Log{
		o:         o,
		queue:     make(chan message.AuditRecord, queueLength),
		budget:    newBudget(o.Rate, o.Burst, o.Now()),
		arrivals:  newArrivals(o.Now()),
		ring:      newRing(o.Ring),
		connects:  newRing(max(1, o.Ring/4)),
		followers: map[*Follower]struct{}{},
	}
	return l
}

// Audit records r, or counts it if its principal is above the rate.
func (l *Log) Audit(r message.AuditRecord) {
	now := l.o.Now()
	if r.Time.IsZero() {
		r.Time = now
	}
	if r.Count == 0 {
		r.Count = 1
	}
	clip(&r)
	l.total.Add(r.Count)

	l.mu.Lock()
	defer l.mu.Unlock()
	b := &l.budget
	if arrival(&r) {
		b = &l.arrivals
	}
	lim := b.limiter(subject(&r), now)
	if b.take(lim, now) {
		l.emit(r)
		return
	}
	l.suppressed.Add(r.Count)
	lim.suppress(r)
}

// subject returns what the rate of a record is limited by: its principal, or an address.
func subject(r *message.AuditRecord) string {
	if r.Event == "connect" && !r.Allowed {
		if ap, err := netip.ParseAddrPort(r.Remote); err == nil {
			return "from " + ap.Addr().Unmap().String()
		}
		return "from " + r.Remote
	}
	return r.Principal
}

// emit passes a record to the ring, the followers and the writer's queue. mu is held.
func (l *Log) emit(r message.AuditRecord) {
	own := &l.ring
	if arrival(&r) {
		own = &l.connects
	}
	l.emitted++
	own.add(l.emitted, r)
	for f := range l.followers {
		f.offer(r)
	}
	select {
	case l.queue <- r:
	default:
		l.missed.Add(r.Count)
		l.missedAll.Add(r.Count)
	}
}

// Run writes records until ctx ends, then writes those that are left and returns nil.
func (l *Log) Run(ctx context.Context) error {
	w := newWriter(&l.o)
	defer w.close()
	tick := time.NewTicker(flushEvery)
	defer tick.Stop()
	for {
		select {
		case r := <-l.queue:
			w.write(ctx, r)
		case <-tick.C:
			l.flush(false, &l.budget, &l.arrivals)
			l.reportMissed()
			w.idle()
		case <-ctx.Done():
			ctx = context.WithoutCancel(ctx)
			l.flush(true, &l.budget)
			l.drain(ctx, w) // before allowed connects need the queue
			l.flush(true, &l.arrivals)
			l.reportMissed()
			l.drain(ctx, w)
			return nil
		}
	}
}

// drain writes what is in the queue.
func (l *Log) drain(ctx context.Context, w *writer) {
	for {
		select {
		case r := <-l.queue:
			w.write(ctx, r)
		default:
			return
		}
	}
}

// flush has budgets emit the counts of suppressed records: see budget.flush.
func (l *Log) flush(all bool, budgets ...*budget) {
	now := l.o.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range budgets {
		b.flush(now, all, l.emit)
	}
}

func (l *Log) reportMissed() {
	if n := l.missed.Swap(0); n > 0 {
		l.mu.Lock()
		l.emit(message.AuditRecord{
			Time:   l.o.Now(),
			Event:  "audit",
			Reason: "records-missed",
			Count:  n,
			Detail: "records that did not reach the file and the log; the latest are in memory",
		})
		l.mu.Unlock()
	}
}

// Counts are totals: records, those of them that were only counted because of the rate, and
// those that the writer missed.
type Counts struct{ Total, Suppressed, Missed uint64 }

// Counts returns the totals since the start.
func (l *Log) Counts() Counts {
	return Counts{Total: l.total.Load(), Suppressed: l.suppressed.Load(), Missed: l.missedAll.Load()}
}

// Recent returns up to n of the latest records that match, oldest first.
// match may be nil.
func (l *Log) Recent(n int, match func(*message.AuditRecord) bool) []message.AuditRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	return latest(&l.ring, &l.connects, n, match)
}

func clip(r *message.AuditRecord) {
	for _, s := range []*string{&r.Principal, &r.ClientID, &r.Remote, &r.Topic, &r.Reason, &r.Detail} {
		if len(*s) > maxText {
			*s = (*s)[:maxText] + "…"
		}
	}
}
