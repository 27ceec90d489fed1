package replica

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func num(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

// cloud is a scripted source: a version, a number of assignments and devices.
type cloud struct {
	mu       sync.Mutex
	version  model.Version
	assigns  int
	devices  int
	roles    int
	denials  int
	rights   Rights
	rightsOK bool
	down     error // what every call returns
	noFeed   bool
	gap      bool // the next Changes is a gap
	torn     bool // each is
	odd      bool // Changes cannot be read
	impolite bool // answers at once, always
	changed  chan struct{}
	log      []string
}

func newCloud() *cloud {
	return &cloud{
		version:  model.Version{Epoch: 7, Number: 1},
		assigns:  20,
		devices:  20,
		roles:    9,
		denials:  2,
		rightsOK: true,
		changed:  make(chan struct{}),
		rights:   Rights{Assignments: true, Spaces: true, Devices: true, Sensors: true, Functions: true, Keys: true},
	}
}

func (c *cloud) set(f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f()
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *cloud) note(format string, args ...any) { c.log = append(c.log, fmt.Sprintf(format, args...)) }

func (c *cloud) Full(context.Context) (Full, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("full")
	if c.down != nil {
		return Full{}, c.down
	}
	f := Full{Version: c.version, Unnumbered: c.noFeed}
	f.Policy.Version = c.version
	for i := range c.assigns {
		f.Policy.Assignments = append(f.Policy.Assignments, model.Assignment{ID: num(i)})
	}
	for i := range c.roles {
		f.Policy.Roles = append(f.Policy.Roles, model.Role{ID: num(i)})
	}
	for i := range c.denials {
		f.Policy.AzureDenies = append(f.Policy.AzureDenies, model.AzureDeny{ID: num(i)})
	}
	for i := range c.devices {
		f.Data.Devices = append(f.Data.Devices, device.Device{ID: num(i), Auth: device.Auth{Primary: device.Secret("k")}})
	}
	return f, nil
}

func (c *cloud) Changes(ctx context.Context, since model.Version, wait time.Duration) (Delta, error) {
	timer := time.NewTimer(wait)
	defer timer.Stop()
	c.mu.Lock()
	c.note("changes %s %v", since, wait)
	c.mu.Unlock()
	for {
		c.mu.Lock()
		version, changed, down, noFeed, gap, impolite, odd := c.version, c.changed, c.down, c.noFeed, c.gap || c.torn, c.impolite, c.odd
		c.gap = false
		c.mu.Unlock()
		switch {
		case down != nil:
			return Delta{}, down
		case odd && version.Number > since.Number:
			return Delta{}, fmt.Errorf("answer: %w", unreadable{})
		case noFeed:
			return Delta{}, wire.ErrNoFeed
		case gap || version.Epoch != since.Epoch || since.Number > version.Number:
			return Delta{}, fmt.Errorf("410: %w", ErrGap)
		}
		d := Delta{From: since, To: version}
		d.Policy.From, d.Policy.To = since, version
		if version.Number > since.Number && version.Number%10 != 0 { // tens concern somebody else
			d.Policy.PutAssignments = []model.Assignment{{ID: num(1000 + int(version.Number))}}
			d.Created.Assignments = 1
			return d, nil
		}
		if wait == 0 || impolite {
			return d, nil
		}
		select {
		case <-changed:
		case <-timer.C:
			return d, nil
		case <-ctx.Done():
			return Delta{}, ctx.Err()
		}
	}
}

func (c *cloud) Rights(context.Context) (Rights, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.note("rights")
	if !c.rightsOK {
		return Rights{}, errors.New("not found")
	}
	return c.rights, nil
}

// fakeSink is a Sink that fails the test when a call breaks the contract of Sink.
type fakeSink struct {
	t       *testing.T
	mu      sync.Mutex
	version model.Version
	log     []string
	fail    error // what the next call returns
}

func (h *fakeSink) take(what string, from, to model.Version) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fail; err != nil {
		h.fail = nil
		h.log = append(h.log, what+" failed")
		return err
	}
	if what == "apply" && from != h.version {
		h.t.Errorf("a delta from %v, and %v is held", from, h.version)
	}
	h.version = to
	h.log = append(h.log, fmt.Sprintf("%s %d", what, to.Number))
	return nil
}

func (h *fakeSink) Replace(_ context.Context, f Full) error {
	if f.Policy.Version != f.Version {
		h.t.Error("two versions in one answer")
	}
	return h.take("replace", model.Version{}, f.Version)
}

func (h *fakeSink) Apply(_ context.Context, d Delta) error {
	if d.Policy.From != d.From || d.Policy.To != d.To {
		h.t.Error("two versions in one delta")
	}
	return h.take("apply", d.From, d.To)
}

func (h *fakeSink) seen() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := strings.Join(h.log, ", ")
	h.log = nil
	return s
}

func (c *cloud) asked() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := strings.Join(c.log, ", ")
	c.log = nil
	return s
}

type rig struct {
	*testing.T
	cloud  *cloud
	sink   *fakeSink
	r      *Replica
	health []Code
}

// in runs a scenario in a bubble in which time is ours.
func in(t *testing.T, scenario func(g *rig), change ...func(*Options)) {
	synctest.Test(t, func(t *testing.T) {
		g := &rig{T: t, cloud: newCloud(), sink: &fakeSink{t: t}}
		o := Options{Source: g.cloud, Sink: g.sink, Jitter: func() float64 { return 0.5 },
			Health: func(h Health) { g.health = append(g.health, h.Code) }}
		for _, f := range change {
			f(&o)
		}
		g.sink.version = o.Held.Version
		r, err := New(o)
		if err != nil {
			t.Fatal(err)
		}
		g.r = r
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- r.Run(ctx) }()
		synctest.Wait()
		scenario(g)
		cancel()
		if err := <-done; err != nil {
			t.Error("Run:", err)
		}
	})
}

func (g *rig) expect(what, got, want string) {
	g.Helper()
	if got != want {
		g.Errorf("%s: got %q, want %q", what, got, want)
	}
}

func (g *rig) commit(n uint64) {
	g.cloud.set(func() { g.cloud.version.Number = n })
	synctest.Wait()
}

func TestFullThenDeltas(t *testing.T) {
	in(t, func(g *rig) {
		g.expect("first", g.sink.seen(), "replace 1")
		g.commit(2)
		g.commit(3)
		g.expect("deltas", g.sink.seen(), "apply 2, apply 3")
		g.commit(10) // somebody else's
		g.expect("not ours", g.sink.seen(), "")
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if s := g.r.Status(); s.Version.Number != 3 || s.Cursor.Number != 10 {
			t.Errorf("%+v", s)
		}
		g.commit(11) // must still follow from 3
		g.expect("after not ours", g.sink.seen(), "apply 11")
		s := g.r.Status()
		if s.Version.Number != 11 || !s.LastSuccess.Equal(time.Now()) || s.Health.Code != InStep {
			t.Errorf("%+v", s)
		}
		g.expect("health", fmt.Sprint(g.health), "[in-step]")
	})
}

func TestGapsLeadToAFullRead(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.cloud.set(func() { g.cloud.version.Number, g.cloud.gap = 5, true })
		synctest.Wait()
		g.expect("the source's gap", g.sink.seen(), "replace 5")
		g.commit(6)
		g.expect("and on", g.sink.seen(), "apply 6")
		g.sink.fail = fmt.Errorf("not what I hold: %w", ErrGap)
		g.commit(7)
		g.expect("the sink's gap", g.sink.seen(), "apply failed, replace 7")
		g.commit(8)
		g.expect("and on", g.sink.seen(), "apply 8")
		for n := uint64(11); n < 15; n++ { // too large for the store, say, one after the other
			g.sink.fail = fmt.Errorf("not what I hold: %w", ErrGap)
			g.commit(n)
			g.expect("what everything had to be read for", g.sink.seen(), fmt.Sprintf("apply failed, replace %d", n))
		}
	})
}

// Reading everything does not mend a feed that never follows: it is not read again and again without a pause.
func TestAFeedThatNeverFollows(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.set(func() { g.cloud.torn = true })
		synctest.Wait()
		g.cloud.asked()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if n := strings.Count(g.cloud.asked(), "full"); n < 10 || n > 30 {
			t.Errorf("read everything %d times in ten minutes", n)
		}
		if s := g.r.Status(); s.Failures == 0 || s.LastError == "" {
			t.Errorf("nobody is told: %+v", s)
		}
		g.cloud.set(func() { g.cloud.torn = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		g.sink.seen()
		g.commit(2)
		g.expect("and on", g.sink.seen(), "apply 2")
		g.cloud.set(func() { g.cloud.version.Number, g.cloud.gap = 3, true })
		synctest.Wait()
		g.expect("a gap is mended at once again", g.sink.seen(), "replace 3")
	})
}

func TestTheCursorWaitsForTheSink(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.sink.fail = errors.New("disk full")
		g.commit(2)
		g.expect("failed", g.sink.seen(), "apply failed")
		if s := g.r.Status(); s.Version.Number != 1 || s.Cursor.Number != 1 || s.Health.Code != SinkFailed ||
			!strings.Contains(s.LastError, "disk full") {
			t.Errorf("%+v", s)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		g.expect("again", g.sink.seen(), "apply 2")
		g.expect("health", fmt.Sprint(g.health), "[in-step sink-failed in-step]")
	})
}

type reasoned struct{ error }

func (reasoned) Reason() string { return "unauthorized" }

func TestBackOff(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.set(func() { g.cloud.down = reasoned{errors.New("401")} })
		synctest.Wait()
		g.cloud.asked()
		start := time.Now()
		var at []string
		for range 9 {
			before := g.r.Status().Failures
			for g.r.Status().Failures == before {
				time.Sleep(250 * time.Millisecond)
				synctest.Wait()
			}
			at = append(at, fmt.Sprint(time.Since(start)))
		}
		g.expect("attempts", strings.Join(at, " "), "750ms 2.25s 5.25s 11.25s 23.25s 47.25s 1m32.25s 2m17.25s 3m2.25s")
		g.expect("health", fmt.Sprint(g.health), "[in-step unauthorized]")
		g.cloud.set(func() { g.cloud.down = nil })
		g.r.Wake()
		synctest.Wait()
		if s := g.r.Status(); s.Health.Code != InStep || s.LastError != "" {
			t.Errorf("a wake-up cuts the back-off short: %+v", s)
		}
	})
}

func TestWakeCutsTheWait(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.asked()
		before := g.r.Status().Syncs
		g.r.Wake()
		g.r.Wake()
		synctest.Wait()
		if after := g.r.Status().Syncs; after == before {
			t.Error("no exchange")
		}
		if asked := g.cloud.asked(); !strings.HasPrefix(asked, "changes 7.1 0s, changes 7.1 30s") {
			t.Error(asked)
		}
		g.commit(2) // and no pause follows: the next revocation is not late
		g.expect("at once", g.sink.seen(), "replace 1, apply 2")
	})
}

func TestWakeFullReadsEverything(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.asked()
		before := g.r.Status()
		g.r.WakeFull()
		synctest.Wait()
		if asked := g.cloud.asked(); !strings.Contains(asked, "full") {
			t.Error(asked)
		}
		if after := g.r.Status(); after.Fulls != before.Fulls+1 {
			t.Errorf("%d full reads, then %d", before.Fulls, after.Fulls)
		}
	})
}

type unreadable struct{}

func (unreadable) Error() string  { return "larger than 67108864 bytes" }
func (unreadable) Reason() string { return "malformed" }

// A change that cannot be read is read with everything else.
func TestAnUnreadableDeltaLeadsToAFullRead(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.cloud.set(func() { g.cloud.odd, g.cloud.version.Number = true, 2 })
		time.Sleep(3 * time.Second)
		synctest.Wait()
		g.expect("taken", g.sink.seen(), "replace 2")
	})
}

func TestAServerThatDoesNotWait(t *testing.T) {
	in(t, func(g *rig) {
		g.cloud.set(func() { g.cloud.impolite = true })
		synctest.Wait()
		g.cloud.asked()
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if n := strings.Count(g.cloud.asked(), "changes"); n < 9 || n > 11 {
			t.Errorf("%d questions in 10 s", n)
		}
	})
}

func TestNoFeed(t *testing.T) {
	in(t, func(g *rig) {
		g.expect("asked", g.cloud.asked(), "full, changes 7.1 30s, full")
		g.cloud.set(func() { g.cloud.version.Number = 5 })
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		g.expect("and every ten minutes", g.cloud.asked(), "full")
		g.expect("taken", g.sink.seen(), "replace 1, replace 1, replace 5")
	}, func(o *Options) { o.Source.(*cloud).noFeed = true; o.FullEvery = 10 * time.Minute })
}

func TestFullEvery(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		time.Sleep(10*time.Minute + 30*time.Second)
		synctest.Wait()
		g.expect("once", g.sink.seen(), "replace 1")
	}, func(o *Options) { o.FullEvery = 10 * time.Minute })
	in(t, func(g *rig) {
		time.Sleep(10*time.Minute + 30*time.Second)
		synctest.Wait()
		g.expect("also where nothing was read at the start", g.sink.seen(), "replace 1")
	}, func(o *Options) {
		o.FullEvery = 10 * time.Minute
		o.Held, o.Resume = Held{Version: model.Version{Epoch: 7, Number: 1}, Assignments: 20, Devices: 20}, true
	})
}

func TestResume(t *testing.T) {
	held := Held{Version: model.Version{Epoch: 7, Number: 1}, Assignments: 20, Devices: 20}
	in(t, func(g *rig) {
		g.expect("asked", g.cloud.asked(), "changes 7.1 0s, changes 7.1 30s")
		g.commit(2)
		g.expect("taken", g.sink.seen(), "apply 2")
	}, func(o *Options) { o.Held, o.Resume = held, true })
	in(t, func(g *rig) {
		time.Sleep(6 * time.Second)
		synctest.Wait()
		g.expect("a cursor of another epoch", g.sink.seen(), "replace 1")
	}, func(o *Options) {
		o.Held, o.Resume = Held{Version: model.Version{Epoch: 6, Number: 900}}, true
	})
}

// A server without versions is counted by our own clock, which may be set back.
func TestWithoutAFeedNumbersOnlyRise(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.cloud.set(func() { g.cloud.version.Number = 1 })
		time.Sleep(90 * time.Second)
		synctest.Wait()
		if got := g.sink.seen(); !strings.Contains(got, "replace 901") {
			t.Errorf("took %q", got)
		}
		if got := g.r.Status().Health.Code; got != InStep {
			t.Errorf("health %q", got)
		}
	}, func(o *Options) { c := o.Source.(*cloud); c.noFeed, c.version.Number = true, 900 })
}
