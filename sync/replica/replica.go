package replica

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/sync/backoff"
	"github.com/gatehouse/gatehouse/sync/wire"
)

type (
	// Full is everything that concerns the site, as of one version.
	Full = wire.Full
	// Delta is what changed between two versions.
	Delta = wire.Delta
	// Rights is what the gateway's own identity may read.
	Rights = wire.Rights
)

// ErrGap is what a Source or a Sink returns (wrapped or not) when a delta does
// not follow from what the sink holds.
var ErrGap = wire.ErrGap

// Source is the cloud, as sync/client reads it.
type Source interface {
	Full(ctx context.Context) (Full, error)
	// Changes waits up to wait for the first change after since. ErrGap:
	// only Full helps. wire.ErrNoFeed: there is no feed.
	Changes(ctx context.Context, since model.Version, wait time.Duration) (Delta, error)
	// Rights says what the gateway's own identity may read at the site.
	Rights(ctx context.Context) (Rights, error)
}

// Sink validates what was read, stores it, puts it into force and revokes what it no
// longer grants. When it returns nil, the version is in force and durable. After an error
// the stored version is still the old one.
type Sink interface {
	Replace(ctx context.Context, f Full) error
	Apply(ctx context.Context, d Delta) error
}

// Options of a Replica. Source and Sink are required.
type Options struct {
	Source Source
	Sink   Sink

	// Held is what the sink holds already, from its own store. With Resume, Run begins
	// with a delta from there; without, with a full read.
	Held   Held
	Resume bool
	// Azure: the source is Azure Resource Manager. It has no feed, so everything is read each
	// FullEvery; and its Azure assignments are what an answer without any is doubted for, because
	// the gateway's own right to read is among them.
	Azure bool

	Wait       time.Duration // of a long poll; 0: 30 s
	FullEvery  time.Duration // how often everything is read again; 0: only when needed
	MinBackoff time.Duration // 0: 1 s
	MaxBackoff time.Duration // 0: 1 min
	// ConfirmAfter is the pause before a suspicious answer is read a second
	// time; 0: 5 s.
	ConfirmAfter time.Duration

	Health func(Health)   // called after each change of the health; may be nil
	Jitter func() float64 // in [0, 1); nil: math/rand
	Log    *slog.Logger   // nil: discard
}

// Replica is one state machine. Run it once; the other methods are safe for
// concurrent use.
type Replica struct {
	o    Options
	log  *slog.Logger
	wake chan struct{} // of capacity 1: several calls of Wake before it is received count as one
	anew atomic.Bool   // the next wake is for a full read

	// Used by Run's goroutine alone.
	held     Held
	cursor   model.Version // the source's version; ahead of held.Version after deltas that changed nothing for this site
	needFull bool
	noFeed   bool
	gaps     int           // ErrGap in a row, each after a full read
	gapAt    model.Version // the cursor at which the sink last returned ErrGap
	quick    bool          // the next request is no long poll, so that it is known at once whether the source answers
	nextFull time.Time

	mu     sync.Mutex
	status Status // guarded by mu
}

// New returns a replica. It starts nothing.
func New(o Options) (*Replica, error) {
	if o.Source == nil || o.Sink == nil {
		return nil, errors.New("replica: Source and Sink are required")
	}
	for d, fallback := range map[*time.Duration]time.Duration{
		&o.Wait: 30 * time.Second, &o.MinBackoff: time.Second, &o.MaxBackoff: time.Minute, &o.ConfirmAfter: 5 * time.Second,
	} {
		if *d <= 0 {
			*d = fallback
		}
	}
	if o.Jitter == nil {
		o.Jitter = rand.Float64
	}
	r := &Replica{o: o, log: o.Log, wake: make(chan struct{}, 1), held: o.Held, cursor: o.Held.Version}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.quick, r.noFeed = true, o.Azure
	r.needFull = !o.Resume || o.Held.Version == (model.Version{})
	r.status.Version, r.status.Health = o.Held.Version, Health{Code: Starting}
	return r, nil
}

// Wake asks for a synchronisation now: it ends a long poll or a backoff early.
func (r *Replica) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // one is pending already
	}
}

// WakeFull is Wake, for a full read instead of the changes.
func (r *Replica) WakeFull() {
	r.anew.Store(true)
	r.Wake()
}

// Run keeps the sink in step with the source until ctx ends, and then returns
// nil.
func (r *Replica) Run(ctx context.Context) error {
	back := backoff.Backoff{
		Min:    r.o.MinBackoff,
		Max:    r.o.MaxBackoff,
		Spread: 0.5,
		Random: r.o.Jitter,
	}
	r.plan()
	for ctx.Err() == nil {
		err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // being told to stop is no error
		case err == nil:
			back.Failures = r.gaps // a full read after which the feed had a gap again counts as a failure
			continue
		}
		r.failed(err)
		r.quick = true
		// A source that throttles says when it wants to be asked again. Wake ends this wait, too.
		wait := back.Next()
		var later interface{ RetryAfter() time.Duration }
		if errors.As(err, &later) {
			wait = max(wait, later.RetryAfter())
		}
		r.pause(ctx, wait)
	}
	return nil
}

// step makes one exchange with the source.
func (r *Replica) step(ctx context.Context) error {
	if r.anew.Swap(false) {
		r.needFull = true
	}
	if r.o.FullEvery > 0 && !time.Now().Before(r.nextFull) {
		r.needFull = true
	}
	if r.needFull {
		return r.full(ctx)
	}
	if r.noFeed {
		r.pause(ctx, r.interval())
		r.needFull = true // also after a failure, so that the next attempt comes after the backoff alone
		return r.full(ctx)
	}
	return r.follow(ctx)
}

// follow asks for the next delta, by a long poll. Wake ends the long poll; the source is
// then asked once more, without waiting for a change.
func (r *Replica) follow(ctx context.Context) error {
	asked := time.Now()
	d, woken, err := r.poll(ctx)
	switch {
	case errors.Is(err, wire.ErrHistory):
		r.report(Health{Code: Rewritten, Detail: fmt.Sprintf("changes since %s: %v", r.cursor, err)})
		return r.gap(err)
	case errors.Is(err, ErrGap):
		r.log.Info("sync: the feed cannot be continued, reading everything", "cursor", r.cursor)
		return r.gap(err)
	case errors.Is(err, wire.ErrNoFeed):
		r.noFeed, r.needFull = true, true
		return nil
	case err != nil:
		// A delta that cannot be decoded (for example, because it is too large) could not be
		// decoded the next time either. A full read replaces it, because a revocation in the
		// delta must not wait.
		var reason interface{ Reason() string }
		r.needFull = errors.As(err, &reason) && reason.Reason() == "malformed"
		return fmt.Errorf("changes since %s: %w", r.cursor, err)
	case d.From != r.cursor || d.To.Epoch != d.From.Epoch || d.To.Number < d.From.Number:
		r.needFull = true
		return fmt.Errorf("changes since %s: the answer leads from %s to %s", r.cursor, d.From, d.To)
	}
	if d.Empty() {
		r.cursor, r.gaps = d.To, 0
		r.succeeded()
		if !woken && time.Since(asked) < time.Second {
			// A server that answers a long poll at once must not be asked in a
			// tight loop.
			r.pause(ctx, time.Second)
		}
		return nil
	}
	// The deltas between held.Version and the cursor were empty, so this one
	// follows on what the sink holds.
	to := d.To
	d.From, d.Policy.From = r.held.Version, r.held.Version
	if err := r.o.Sink.Apply(ctx, d); err != nil {
		if errors.Is(err, ErrGap) {
			r.log.Warn("sync: the sink cannot apply a delta, reading everything", "from", d.From, "to", to)
			if r.cursor != r.gapAt {
				r.gaps = 0 // the feed advanced since the last gap: the full read helped then, and is made at once now
			}
			r.gapAt = r.cursor
			return r.gap(err)
		}
		return &sinkError{fmt.Errorf("apply %s to %s: %w", d.From, to, err)}
	}
	r.held.follow(&d)
	r.cursor, r.gaps = to, 0
	r.problems(d.Problems)
	r.succeeded()
	return nil
}

// gap arranges a full read: the first time at once, and after that with a
// growing backoff, because the full read did not close the gap.
func (r *Replica) gap(err error) error {
	r.needFull = true
	if r.gaps++; r.gaps == 1 {
		return nil
	}
	return fmt.Errorf("changes since %s, which is what was read last: %w", r.cursor, err)
}

// poll is Source.Changes. If Wake ends the long poll, it asks once more without
// waiting.
func (r *Replica) poll(ctx context.Context) (d Delta, woken bool, err error) {
	if r.quick {
		r.quick = false
		d, err = r.o.Source.Changes(ctx, r.cursor, 0)
		return d, true, err
	}
	waiting, cancel := context.WithCancel(ctx)
	wished := make(chan bool, 1)
	done := make(chan struct{})
	go func() {
		select {
		case <-r.wake:
			cancel()
			wished <- true
		case <-done:
			wished <- false
		}
	}()
	d, err = r.o.Source.Changes(waiting, r.cursor, r.o.Wait)
	close(done)
	woken = <-wished
	cancel()
	if woken && err != nil && ctx.Err() == nil {
		d, err = r.o.Source.Changes(ctx, r.cursor, 0)
	}
	return d, woken, err
}

// full reads everything and replaces what the sink holds.
func (r *Replica) full(ctx context.Context) error {
	f, err := r.o.Source.Full(ctx)
	if err != nil {
		return fmt.Errorf("full read: %w", err)
	}
	r.number(&f)
	if doubt := r.held.doubt(&f, r.o.Azure); doubt != nil {
		if f, err = r.confirm(ctx, doubt); err != nil {
			return err
		}
	}
	if err := r.o.Sink.Replace(ctx, f); err != nil {
		return &sinkError{fmt.Errorf("replace by %s: %w", f.Version, err)}
	}
	r.held, r.cursor, r.needFull, r.quick = measure(&f), f.Version, false, false
	r.plan()
	r.log.Info(
		"sync: complete",
		"version",
		f.Version,
		"assignments",
		r.held.Assignments,
		"devices",
		r.held.Devices,
		"sensors",
		r.held.Sensors,
	)
	r.problems(f.Problems)
	r.mu.Lock()
	r.status.Fulls++
	r.mu.Unlock()
	r.succeeded()
	return nil
}

// plan sets when everything is read again. Run calls it at the start too, for a
// replica that resumes and reads nothing in full.
func (r *Replica) plan() {
	if r.o.FullEvery > 0 {
		r.nextFull = time.Now().Add(spread(r.o.FullEvery, r.o.Jitter()))
	}
}

// number makes the version of an answer that has none of its own follow the one
// that is held. Such a version counts milliseconds of the local clock, which
// may have been set back.
func (r *Replica) number(f *Full) {
	if f.Unnumbered && f.Version.Epoch == r.held.Version.Epoch && f.Version.Number < r.held.Version.Number {
		f.Version.Number = r.held.Version.Number + 1
		f.Policy.Version = f.Version
	}
}

func (r *Replica) problems(list []wire.Problem) {
	for _, p := range list {
		r.log.Warn("sync: left out", "type", p.Type, "id", p.ID, "reason", p.Reason)
	}
}

// interval is how often a source without a feed is read.
func (r *Replica) interval() time.Duration {
	if r.o.FullEvery > 0 {
		return spread(r.o.FullEvery, r.o.Jitter())
	}
	return spread(time.Minute, r.o.Jitter())
}

// spread returns d plus or minus a tenth, so that many gateways do not ask at
// the same moment.
func spread(d time.Duration, jitter float64) time.Duration {
	return time.Duration(float64(d) * (0.9 + 0.2*jitter))
}

// pause waits for d. Wake and the end of ctx end it early.
func (r *Replica) pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-r.wake:
	case <-ctx.Done():
	}
}
