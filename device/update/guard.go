package update

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest"
)

// Options of a Guard.
type Options struct {
	Authorizer Authorizer
	Journal    Journal
	Verifier   *manifest.Verifier
	Hosts      manifest.Hosts // where file URLs may lead
	// RequireRecords: a hub action needs a deployment record. Without a source
	// everything is held.
	RequireRecords bool
	Records        Records
	Updates        Updates       // nil: local deployments need the cloud
	Cloud          Cloud         // nil: no way to the real service
	StuckAfter     time.Duration // 0: 6 h
	// Silent keeps refusals from being reported upstream.
	Silent bool
	Now    func() time.Time
	// Audit is called after a change took effect, in the order of the changes
	// of a device; it must not block.
	Audit func(AuditRecord)
	// Recheck is called by Reauthorize and after a local action for each
	// device whose view may have changed; it must lead to Desired.
	Recheck func(device string)
	Log     *slog.Logger
}

// Guard runs Step for every device. Safe for concurrent use.
type Guard struct {
	o     Options
	rules Rules

	mu      sync.Mutex
	devices map[string]*deviceState // guarded by mu; entries are never removed

	countMu sync.Mutex    // locked after the mu of a device, if both are
	counts  map[Phase]int // guarded by countMu; see Counts
}

type deviceState struct {
	mu    sync.Mutex // one event of a device at a time; held over the journal's sync
	state State      // guarded by mu
	saved []byte     // the record in the journal; guarded by mu
	// counted are the phases that this device contributes to Guard.counts; guarded by mu.
	counted []Phase
	// later: reports of this device may have been withheld, so that they are
	// looked at again when rights change.
	later atomic.Bool
}

// ErrJournal is what a failure to write the journal wraps: nothing was released.
var ErrJournal = errors.New("deployment journal")

// New prepares a guard; Load must come before the first question.
func New(o Options) *Guard {
	if o.StuckAfter == 0 {
		o.StuckAfter = 6 * time.Hour
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Audit == nil {
		o.Audit = func(AuditRecord) {}
	}
	if o.Recheck == nil {
		o.Recheck = func(string) {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Guard{
		o:       o,
		rules:   Rules{StuckAfter: o.StuckAfter},
		devices: map[string]*deviceState{},
		counts:  map[Phase]int{},
	}
}

// Load reads the journal. A record that cannot be read is reported and
// dropped: its device is judged afresh, which can only take away.
func (g *Guard) Load() error {
	return g.o.Journal.Load(func(name string, record []byte) error {
		var s State
		if err := json.Unmarshal(record, &s); err != nil {
			g.o.Log.Error("deployment journal: unreadable record dropped", "device", name, "err", err)
			return nil
		}
		d := g.device(name)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.state, d.saved = s, bytes.Clone(record)
		g.count(d)
		d.later.Store(true) // the journal does not say which reports were withheld
		return nil
	})
}

func (g *Guard) device(name string) *deviceState {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.devices[name]
	if d == nil {
		d = &deviceState{}
		g.devices[name] = d
	}
	return d
}

// turn is one event with everything that follows from it.
type turn struct {
	device  string
	state   State
	notes   []AuditRecord
	refusal *ReportRefusal
}

// run steps until no effect is left to answer. Nothing has been stored or shown
// when it returns.
func (g *Guard) run(ctx context.Context, t *turn, first Event) {
	for events := []Event{first}; len(events) > 0; {
		e := events[0]
		events = events[1:]
		var effects []Effect
		t.state, effects = g.rules.Step(t.state, e)
		for _, f := range effects {
			switch f := f.(type) {
			case Verify:
				events = append(events, g.verify(t.state, f.Service))
			case Authorise:
				events = append(events, Answered{g.o.Now(), g.authorise(ctx, t.device, f)})
			case Note:
				t.notes = append(t.notes, g.note(t.device, f))
			case ReportRefusal:
				t.refusal = &f
			}
		}
	}
}

// apply runs one event and puts its outcome into force: first in the journal,
// then in memory, then in the audit.
func (g *Guard) apply(ctx context.Context, d *deviceState, t *turn, e Event) error {
	t.state = d.state
	g.run(ctx, t, e)
	return g.commit(ctx, d, t)
}

func (g *Guard) commit(ctx context.Context, d *deviceState, t *turn) error {
	record, err := json.Marshal(t.state)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	if !bytes.Equal(record, d.saved) {
		if err := g.o.Journal.Save(ctx, t.device, record); err != nil {
			t.state = d.state
			return fmt.Errorf("%w: %w", ErrJournal, err)
		}
		d.saved = record
	}
	d.state = t.state
	g.count(d)
	for _, n := range t.notes {
		g.o.Audit(n)
	}
	return nil
}

func (g *Guard) note(device string, n Note) AuditRecord {
	return AuditRecord{
		Time:     g.o.Now(),
		Device:   device,
		Action:   n.Action,
		Workflow: n.ID,
		Update:   n.Update,
		Who:      whoName(n.Who),
		Allowed:  n.Allowed,
		Phase:    n.Phase,
		Reason:   n.Reason,
		Detail:   n.Detail,
		Version:  n.Version,
	}
}

func whoName(w Initiator) string {
	if w.Hub {
		return "device-update-service"
	}
	return w.Name
}

// verify checks the manifest, the signature and the URLs of an apply, before
// the authorizer is asked.
func (g *Guard) verify(s State, v Service) Event {
	m, _, err := g.o.Verifier.Verify([]byte(v.Manifest), v.Signature)
	if err == nil {
		err = m.CheckFiles(v.FileURLs, g.o.Hosts)
	}
	if err == nil && v.RootKeyPackageURL != "" {
		err = g.o.Hosts.Check(v.RootKeyPackageURL)
	}
	if err != nil {
		reason := string(manifest.CodeOf(err))
		if reason == "" {
			reason = "bad-manifest"
		}
		return Checked{Reason: reason, Detail: err.Error()}
	}
	if !compatible(m.Compatibility, s.Properties) {
		return Checked{Reason: "incompatible", Detail: m.ID.String() + " is not for this device"}
	}
	return Checked{Update: m.ID.String()}
}

// compatible tells whether one compatibility entry of an update fits the
// properties that the device has reported. A property that the device never
// reported is not held against the update.
func compatible(entries []map[string]string, reported map[string]string) bool {
	if len(reported) == 0 || len(entries) == 0 {
		return true
	}
	for _, e := range entries {
		fits := true
		for name, want := range e {
			switch name { // spelling of earlier import manifests
			case "deviceManufacturer":
				name = "manufacturer"
			case "deviceModel":
				name = "model"
			}
			if got, known := reported[name]; known && got != want && !equalFold(got, want) {
				fits = false
			}
		}
		if fits {
			return true
		}
	}
	return false
}

func equalFold(a, b string) bool {
	return bytes.EqualFold([]byte(a), []byte(b))
}

func (g *Guard) authorise(ctx context.Context, device string, a Authorise) Decision {
	question := a.Action
	if a.Released {
		question = CancelReleased
	}
	d := g.o.Authorizer.May(ctx, a.Who, question, device)
	if !d.Allowed || !a.Who.Hub || !g.o.RequireRecords {
		return d
	}
	if g.o.Records == nil {
		return Decision{Hold: true, Reason: "no-record-source", Detail: "deployment records are required and no source is configured"}
	}
	return g.o.Records.Check(ctx, device, a.Action, a.Workflow, a.Update)
}

// View is what the device and the update service may see of each other.
type View struct {
	// Desired is what the device may see, with the hub's $version.
	Desired twin.Properties
	// Report is to be merged into the reported properties upstream, in the
	// device's name; Absent when there is nothing to say.
	Report strictjson.Value
}

// Desired judges the merged desired state of a device and returns what it may
// see. present: the device is connected or asks right now, so that what is
// released reaches it. On an error (the journal) the view is the last good one.
func (g *Guard) Desired(ctx context.Context, device string, desired twin.Properties, present bool) (View, error) {
	d := g.device(device)
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &turn{device: device}
	err := g.apply(ctx, d, t, g.read(desired, present))
	if err == nil && present && t.state.Pending != nil {
		refusal := t.refusal
		t = &turn{device: device, refusal: refusal}
		err = g.apply(ctx, d, t, Arrived{g.o.Now()})
	}
	view := View{Desired: g.view(ctx, d, t.device, desired)}
	if t.refusal != nil && err == nil && !g.o.Silent {
		view.Report = refusalReport(d.state, *t.refusal)
	}
	return view, err
}

// read turns a desired state into an event.
func (g *Guard) read(desired twin.Properties, present bool) Event {
	now, v := g.o.Now(), desired.Value.Get(component)
	bad := Malformed{now, desired.Version, "malformed-service"}
	switch v.Kind() {
	case strictjson.Absent, strictjson.Null:
		return Withdrawn{desired.Version}
	case strictjson.Object:
	default:
		return bad
	}
	if exact(v, "service", "__t") != nil {
		return bad
	}
	w := v.Get("service")
	if w.Kind() == strictjson.Absent || w.Kind() == strictjson.Null {
		return Withdrawn{desired.Version}
	}
	s, err := ParseService(w)
	if err != nil {
		return bad
	}
	if s.Cancel && s.RootKeyPackageURL != "" && g.o.Hosts.Check(s.RootKeyPackageURL) != nil {
		s.RootKeyPackageURL = "" // a cancel needs none; an address that is not allowed never passes
	}
	return Offer{Now: now, Version: desired.Version, Service: s, Who: Initiator{Hub: true}, Present: present}
}

// Unreadable audits a desired state from upstream that is no strict JSON. It
// changes nothing; the audit record helps to find who wrote it. err says at
// which offset it breaks, never what it holds.
func (g *Guard) Unreadable(device string, err error) {
	g.o.Audit(g.note(device, Note{
		Detail: err.Error(),
		Deployment: Deployment{
			Action: Create,
			Phase:  Refused,
			Reason: "malformed-desired",
			Who:    Initiator{Hub: true},
		},
	}))
}

// Reauthorize asks the authorizer again about every deployment that waits or
// was refused, and about every report that was withheld. It is called when
// rights, deployment records or the offline stage changed.
func (g *Guard) Reauthorize(ctx context.Context) error {
	g.mu.Lock()
	names := slices.Sorted(maps.Keys(g.devices))
	g.mu.Unlock()
	for _, n := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if g.device(n).open() {
			g.o.Recheck(n)
		}
	}
	return nil
}

// Forget drops everything known of a device and its modules once it is gone
// from the registry: a later device with the same name is another one.
func (g *Guard) Forget(ctx context.Context, device string) error {
	g.mu.Lock()
	names := []string{device}
	for n := range g.devices {
		if strings.HasPrefix(n, device+"/") {
			names = append(names, n)
		}
	}
	g.mu.Unlock()
	var failed error
	for _, n := range names {
		failed = errors.Join(failed, g.forget(ctx, n))
	}
	return failed
}

func (g *Guard) forget(ctx context.Context, device string) error {
	d := g.device(device)
	d.mu.Lock()
	defer d.mu.Unlock()
	// This is done even if the journal fails: the next state that is written
	// replaces the record.
	d.state, d.saved = State{}, nil
	g.count(d)
	if err := g.o.Journal.Delete(ctx, device); err != nil {
		return fmt.Errorf("%w: %w", ErrJournal, err)
	}
	return nil
}

// open tells whether a change of rights could change anything for this device.
// It is true for a device that an event is being run for right now, because the
// old rights may have been asked for.
func (d *deviceState) open() bool {
	if !d.mu.TryLock() {
		return true
	}
	defer d.mu.Unlock()
	return d.later.Load() || d.state.Pending != nil || d.state.Refusal != nil || len(d.state.Noted) > 0
}

// State is a copy of what is known of a device: for status pages and tests.
func (g *Guard) State(device string) State {
	d := g.device(device)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}
