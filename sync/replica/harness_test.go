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
	down     error // what every call returns; nil: the cloud answers
	noFeed   bool
	gap      bool // the next call of Changes returns ErrGap
	torn     bool // every call of Changes returns ErrGap
	odd      bool // a change makes the answer of Changes unreadable
	impolite bool // Changes never waits for a change
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
		if version.Number > since.Number && version.Number%10 != 0 { // multiples of ten change nothing at this site
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
	fail    error // what the next call returns; nil: it succeeds
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

// in runs a scenario with a running replica, in a synctest bubble, where the test controls the time.
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
