// Package health holds what is wrong with the gateway now: named warnings, each with its
// severity, the time since when it holds, and what an operator should do.
//
// A warning is a condition, not an event: raising it again changes its text and keeps its start
// time, and clearing one that is not raised does nothing. Names are stable, because dashboards
// and tests refer to them.
//
// A Tracker is safe for concurrent use, and nobody changes the values that Report returns.
// Watchers are called for every change, in order, on the goroutine that made the change and
// without holding mu. They must not call Set, Raise or Clear, which would deadlock.
package health

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Severity orders warnings.
type Severity uint8

// The severities. Notice is worth knowing and leaves the state "ok"; Degraded
// means that something is worse than it should be while the gateway serves;
// Failing means that it does not do its work.
const (
	Notice Severity = iota
	Degraded
	Failing
)

func (s Severity) String() string {
	switch s {
	case Notice:
		return "notice"
	case Degraded:
		return "degraded"
	}
	return "failing"
}

// MarshalText implements encoding.TextMarshaler with String.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Warning is one condition.
type Warning struct {
	Name     string    `json:"name"` // stable, lower-case with dashes: "cache-stale"
	Severity Severity  `json:"severity"`
	Text     string    `json:"text"` // what is wrong, in a sentence
	Next     string    `json:"next"` // what an operator does next
	Since    time.Time `json:"since"`
}

// Report is the state at one moment.
type Report struct {
	State    string    `json:"state"` // ok, degraded, failing
	Since    time.Time `json:"since"` // since when it has been in this state
	Warnings []Warning `json:"warnings"`
}

// Change is a warning that was raised or cleared, for the log, the audit and systemd's status
// line.
type Change struct {
	Warning Warning
	Raised  bool // false: cleared
	State   string
}

// Tracker holds the warnings. Use New.
type Tracker struct {
	now func() time.Time

	// step is held over a change and the calls to its watchers, so that watchers see changes in
	// order. It is locked before mu.
	step sync.Mutex

	mu       sync.Mutex
	warnings map[string]Warning
	state    Severity
	since    time.Time
	watchers []func(Change)
}

// New returns a tracker without warnings. now is the clock, time.Now if nil.
func New(now func() time.Time) *Tracker {
	if now == nil {
		now = time.Now
	}
	return &Tracker{now: now, warnings: map[string]Warning{}, since: now()}
}

// Watch has f called for each change from now on.
func (t *Tracker) Watch(f func(Change)) {
	t.mu.Lock()
	t.watchers = append(slices.Clip(t.watchers), f)
	t.mu.Unlock()
}

// Raise raises the named warning, or changes its text and severity.
func (t *Tracker) Raise(name string, severity Severity, text, next string) {
	t.change(func() (Change, bool) {
		w := Warning{
			Name:     name,
			Severity: severity,
			Text:     text,
			Next:     next,
			Since:    t.now(),
		}
		old, had := t.warnings[name]
		if had {
			w.Since = old.Since
		}
		t.warnings[name] = w
		// Only a new warning or severity is reported as a change, not a new text ("stale for 61 min",
		// "62 min").
		return Change{Warning: w, Raised: true}, !had || old.Severity != severity
	})
}

// Clear ends the named warning.
func (t *Tracker) Clear(name string) {
	t.change(func() (Change, bool) {
		w, had := t.warnings[name]
		delete(t.warnings, name)
		return Change{Warning: w}, had
	})
}

// Set raises the named warning if raised is true, and clears it otherwise. It is meant for
// conditions that are checked repeatedly.
func (t *Tracker) Set(raised bool, name string, severity Severity, text, next string) {
	if raised {
		t.Raise(name, severity, text, next)
		return
	}
	t.Clear(name)
}

func (t *Tracker) change(apply func() (Change, bool)) {
	t.step.Lock()
	defer t.step.Unlock()
	t.mu.Lock()
	c, tell := apply()
	worst := Notice
	for _, w := range t.warnings {
		worst = max(worst, w.Severity)
	}
	if worst != t.state {
		t.state, t.since = worst, t.now()
	}
	c.State = stateName(t.state)
	watchers := t.watchers
	t.mu.Unlock()
	if !tell {
		return
	}
	for _, f := range watchers {
		f(c)
	}
}

// Report returns the state and the warnings, worst first, then oldest first.
func (t *Tracker) Report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Report{State: stateName(t.state), Since: t.since, Warnings: make([]Warning, 0, len(t.warnings))}
	for _, w := range t.warnings {
		r.Warnings = append(r.Warnings, w)
	}
	slices.SortFunc(r.Warnings, func(a, b Warning) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), a.Since.Compare(b.Since), cmp.Compare(a.Name, b.Name))
	})
	return r
}

func stateName(s Severity) string {
	if s == Notice {
		return "ok"
	}
	return s.String()
}
