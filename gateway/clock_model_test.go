package gateway

import (
	"errors"
	"log/slog"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// machine is a box of which only what knows the time is built, beside a naive model of
// what the mark must be. It draws what happens to it.
type machine struct {
	t     *testing.T
	r     *rand.Rand
	dir   string
	built time.Time
	truth time.Time     // what time it is, which only the cloud knows
	wall  time.Time     // the machine's clock
	up    time.Duration // its monotonic clock
	d     *daemon
	last  string // what happened last

	// atLeast and atMost are the model: the mark is in between. stored is what was stored
	// of it at the last start, reset or minute.
	atLeast, atMost time.Time
	stored          time.Time
	ended           []time.Time   // ends of credentials that the mark has seen expired
	stage           offline.Stage // that was in force
	generation      uint64
}

// powerCut is what a power cut may take from the mark, and so from the end of a credential.
const powerCut = time.Minute

func (m *machine) boot() {
	m.t.Helper()
	s, err := store.Open(m.dir, store.Options{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		m.t.Fatal(err)
	}
	d := &daemon{
		cfg:     config.Default(),
		log:     slog.New(slog.DiscardHandler),
		reports: reports{health: health.New(nil)},
		core:    core{store: s},
	}
	d.opts = Options{
		Built:   m.built,
		Now:     func() time.Time { return m.wall },
		Elapsed: func() time.Duration { return m.up },
	}
	if err := errors.Join(d.buildReports(), d.buildPolicy()); err != nil {
		m.t.Fatal(err)
	}
	m.d = d
	if m.wall.After(m.atMost) && m.wall.Sub(m.atMost) <= day {
		m.atMost = m.wall
	}
	m.see()
	m.stored = m.atLeast // at the start
}

// off is a power cut, and a start after some time with the machine's clock anywhere.
func (m *machine) off() {
	m.last = "power cut"
	if err := m.d.store.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.atLeast = m.stored
	m.truth = m.truth.Add(time.Duration(m.r.Int64N(int64(3 * day))))
	m.step()
	m.last += ", the clock at " + m.wall.Format(time.RFC3339)
	m.boot()
}

// step sets the machine's clock.
func (m *machine) step() {
	m.last += ", clock set"
	switch m.r.IntN(6) {
	case 0:
		m.wall = time.Unix(0, 0).UTC()
	case 1:
		m.wall = time.Date(2090, 1, 1, 0, 0, 0, 0, time.UTC)
	case 2:
		m.wall = m.truth.Add(time.Duration(m.r.Int64N(int64(800*day))) - 400*day)
	case 3:
		m.wall = m.d.clock.Mark().Add(time.Duration(m.r.Int64N(int64(4*day))) - 2*day)
	default:
		m.wall = m.truth
	}
}

// run lets time pass: seconds one by one, days by the hour.
func (m *machine) run() {
	m.last = "run"
	step, n := time.Second, m.r.IntN(200)
	if m.r.IntN(3) == 0 {
		step, n = time.Hour, m.r.IntN(200)
	}
	for range n {
		m.truth, m.wall, m.up, m.atMost = m.truth.Add(step), m.wall.Add(step), m.up+step, m.atMost.Add(step)
		m.d.staging.Tick(m.d.keeper.Keep)
	}
	if n == 0 {
		return
	}
	m.atLeast = m.atLeast.Add(step * time.Duration(n))
	m.see()
	if kept := m.atLeast.Add(-powerCut); kept.After(m.stored) {
		m.stored = kept
	}
}

// see takes the mark for what it says.
func (m *machine) see() {
	if mark := m.d.clock.Mark(); mark.After(m.atLeast) {
		m.atLeast = mark
	}
}

// word is the cloud's: what time it is, and that the policy is current or what it is.
func (m *machine) word() {
	m.last = "the cloud's word"
	m.d.clock.ReportCloudTime(m.truth, m.generation)
	if m.truth.After(m.atMost) {
		m.atMost = m.truth
	}
	if m.generation == 0 || m.r.IntN(2) == 0 {
		m.generation++
		s := m.d.clock.Stamp()
		err := m.d.store.Cache().WriteGeneration(m.t.Context(), generation.Full{
			Version: model.Version{Epoch: 1, Number: m.generation},
			Taken:   s.Time,
			Resets:  s.Resets,
		})
		if err != nil {
			m.t.Fatal(err)
		}
	}
	m.d.heard()
	m.stage = offline.Fresh
}

// reset is the operator's, who has looked at the clock or not.
func (m *machine) reset() {
	m.last = "reset"
	if m.r.IntN(2) == 0 {
		m.wall = m.truth
	}
	if _, err := m.d.resetClock(m.t.Context()); err != nil {
		m.t.Fatal(err)
	}
	m.atLeast, m.atMost, m.stored = m.d.clock.Mark(), m.d.clock.Mark(), m.d.clock.Mark()
	want := m.wall
	if want.Before(m.built) {
		want = m.built
	}
	if !m.atMost.Equal(want) {
		m.t.Errorf("reset to %v, the clock says %v", m.atMost, m.wall)
	}
	m.ended, m.stage = nil, offline.Fresh
}

// check compares what is with the model.
func (m *machine) check() {
	m.t.Helper()
	m.d.staging.Update()
	mark, now := m.d.clock.Mark(), m.d.clock.Now()
	m.see()
	if mark.Before(m.atLeast) || mark.After(m.atMost) {
		m.t.Errorf("%s: the mark is %v; it is known to be %v at least and %v at most", m.last, mark, m.atLeast, m.atMost)
	}
	for _, end := range m.ended {
		if end.After(now) {
			m.t.Errorf("%s: a credential that had ended at %v is good again: it is %v", m.last, end, now)
		}
	}
	if s := m.d.staging.Stage(); s < m.stage {
		m.t.Errorf("%s: from %v back to %v without the cloud's word", m.last, m.stage, s)
	}
	m.stage = m.d.staging.Stage()
	m.ended = append(m.ended[max(0, len(m.ended)-20):], m.stored.Add(-time.Duration(m.r.Int64N(int64(90*day)))), m.stored)
}

// TestNoCredentialEndsTwice: over any run lengths, power cuts, steps of the clock, words of
// the cloud and resets, no credential that the mark has seen expired is accepted again
// without a reset, the stage goes back by the cloud's word only, and nothing of before a
// reset outranks it.
func TestNoCredentialEndsTwice(t *testing.T) {
	histories, steps := 4, 30
	if testing.Short() {
		histories = 1
	}
	for range histories {
		seed := rand.Uint64()
		m := &machine{t: t, r: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir()}
		m.built = time.Date(2026, 6, 1, 0, 0, 0, 0, time.UTC)
		m.truth = m.built.Add(time.Duration(m.r.Int64N(int64(300 * day))))
		m.wall, m.atLeast, m.atMost = m.truth, m.built, m.truth
		m.boot()
		for i := 0; i < steps && !t.Failed(); i++ {
			switch m.r.IntN(10) {
			case 0, 1, 2:
				m.off()
			case 3, 4, 5, 6:
				m.run()
			case 7:
				m.last = ""
				m.step()
			case 8:
				m.word()
			case 9:
				m.reset()
			}
			m.check()
		}
		if err := m.d.store.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
