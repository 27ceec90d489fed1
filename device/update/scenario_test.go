package update

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/authztest/scenario"
	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// deployments is one device with a guard before it, and what happens to it, in
// order. Every initiator holds every right until a step says otherwise.
type deployments struct {
	scenario.Head `yaml:",inline"`
	World         struct {
		Records string   // "required" without a source, "source" with one; else off
		Silent  bool     // refusals are not reported upstream
		Updates []string // versions in the gateway's own update store
		Cloud   bool     // the real service can be reached
	}
	Steps []step
}

// step is one thing that happens, and what is true after it.
type step struct {
	// What happens: at most one of these.
	Offer   string // the hub wants: "w1 1.1", "w1 1.1 t1" (retry), "cancel", "cancel w1"
	With    []string
	Desired string // the hub patches the desired state: JSON
	Look    bool   // the device asks for its twin
	Report  string // the device reports deviceUpdate.agent: JSON
	Says    string // the device reports this patch: JSON
	Deny    string // from now on this action is not allowed
	Hold    string // from now on this action cannot be decided
	Allow   string // from now on it is
	Record  string // what the record source answers from now on: a reason, "hold {reason}" or "good"
	Pass    time.Duration
	Restart bool
	Local   string // somebody local asks: "create w1 1.1", "cancel w1", "retry w1", "get"

	Away bool // the device is not here

	// What is true then.
	Sees     *string // the device: "3 w1", "3 w1 t1", "255 nodeployment" or "-"
	Told     *string // upstream, in the protocol's words: the reason, or ""
	Audited  []string
	Phase    Phase  // of the current deployment
	Pending  string // "{id} {phase}", or "none"
	Desires  string // the desired state that the device gets: JSON
	Version  int64  // its $version
	Up       string // what goes upstream of a report: JSON, "-" for nothing
	Later    string // what is kept of it for later
	Status   int    // of the answer to somebody local
	Asked    []Action
	NotAsked bool // nobody was asked for a right
}

func TestScenarios(t *testing.T) {
	scenario.Run(t, func(t *testing.T, d deployments) {
		if len(d.Steps) == 0 {
			t.Error("nothing happens")
		}
		p := newPlay(t, &d)
		for i := range d.Steps {
			t.Run(fmt.Sprintf("step %d", i+1), func(t *testing.T) {
				p.t, p.bench.t = t, t
				p.do(&d.Steps[i])
			})
		}
	})
}

// play is a bench on which a scenario is played.
type play struct {
	*bench
	t       *testing.T
	updates []string
	online  bool
	seen    int // audit records that were looked at
}

// Find implements Updates.
func (p *play) Find(_ context.Context, id string) (Service, bool) {
	version, ok := strings.CutPrefix(id, "Contoso/T/")
	if !ok || !slices.Contains(p.updates, version) {
		return Service{}, false
	}
	text := manifestOf(version)
	return Service{Manifest: string(text), Signature: signer().Sign(text), FileURLs: js(p.t, `{"f1":"`+fileURL+`"}`)}, true
}

// Forward implements Cloud.
func (p *play) Forward(context.Context, Request) (Answer, error) {
	if p.online {
		return Answer{Status: 202}, nil
	}
	return Answer{}, ErrOffline
}

func newPlay(t *testing.T, d *deployments) *play {
	p := &play{t: t, updates: d.World.Updates, online: d.World.Cloud}
	p.bench = newBench(t, func(o *Options) {
		o.Silent, o.RequireRecords, o.Updates, o.Cloud = d.World.Silent, d.World.Records != "", p, p
	})
	switch d.World.Records {
	case "", "required":
	case "source":
		p.o.Records = p.bench
		p.restart()
	default:
		t.Fatalf("records %q", d.World.Records)
	}
	return p
}

func (p *play) do(s *step) {
	p.asked = nil
	var view View
	var reports Reports
	var answer Answer
	judged := true
	switch {
	case s.Offer != "":
		text := p.service(s.Offer)
		for _, change := range s.With {
			from, to, ok := strings.Cut(change, " => ")
			if !ok || !strings.Contains(text, from) {
				p.t.Fatalf("nothing to replace: %q in %s", change, text)
			}
			text = strings.Replace(text, from, to, 1)
		}
		view = p.patch(text, !s.Away)
	case s.Desired != "":
		view = p.raw(s.Desired, !s.Away)
	case s.Look:
		view = p.look(!s.Away)
	case s.Report != "":
		reports, judged = p.report(s.Report), false
	case s.Says != "":
		var err error
		if reports, err = p.guard.Reported(p.t.Context(), "d1", js(p.t, s.Says)); err != nil {
			p.t.Fatal(err)
		}
		judged = false
	case s.Local != "":
		answer, judged = p.local(s.Local), false
	default:
		p.change(s)
		judged = false
	}
	if judged {
		p.expectView(s, view)
	} else if s.Sees != nil || s.Told != nil || s.Desires != "" || s.Version != 0 {
		p.t.Fatal("nobody looked at the desired state in this step")
	}
	p.expect(s, reports, answer)
}

func (p *play) change(s *step) {
	switch {
	case s.Deny != "":
		action, reason, _ := strings.Cut(s.Deny, " ")
		p.denied[Action(action)] = Decision{Reason: cmp.Or(reason, unauthorised.Reason), Detail: unauthorised.Detail}
	case s.Hold != "":
		action, reason, _ := strings.Cut(s.Hold, " ")
		p.denied[Action(action)] = Decision{Hold: true, Reason: reason}
	case s.Allow != "":
		delete(p.denied, Action(s.Allow))
	case s.Record != "":
		reason, hold := strings.CutPrefix(s.Record, "hold ")
		p.records = func(Action, string, string) Decision {
			return Decision{Allowed: reason == "good", Hold: hold, Reason: reason}
		}
	case s.Restart:
		p.restart()
	case s.Pass == 0:
		p.t.Fatal("nothing happens")
	}
	p.now = p.now.Add(s.Pass)
}

// service is what an offer's short form stands for.
func (p *play) service(short string) string {
	f := strings.Fields(short)
	switch {
	case short == "cancel":
		return cancelService
	case len(f) == 2 && f[0] == "cancel":
		return fmt.Sprintf(`{"workflow":{"action":255,"id":%q},"updateManifest":null,"updateManifestSignature":null,"fileUrls":null}`, f[1])
	case len(f) == 2 && strings.Contains(f[1], "@"): // "1.1@9": signed, but of another manifestVersion
		version, of, _ := strings.Cut(f[1], "@")
		text := strings.Replace(string(manifestOf(version)), `"manifestVersion":"5"`, `"manifestVersion":"`+of+`"`, 1)
		return fmt.Sprintf(`{"workflow":{"action":3,"id":%q},"updateManifest":%q,"updateManifestSignature":%q,"fileUrls":{"f1":%q}}`,
			f[0], text, signer().Sign([]byte(text)), fileURL)
	case len(f) == 2:
		return applyService(f[0], "", f[1])
	case len(f) == 3:
		return applyService(f[0], f[2], f[1])
	}
	p.t.Fatalf("offer %q", short)
	return ""
}

func (p *play) local(short string) Answer {
	f := strings.Fields(short)
	r := Request{Device: "d1", Action: Action(f[0]), Who: Initiator{Name: "ann"}}
	if len(f) > 1 {
		r.Deployment = f[1]
	}
	if len(f) > 2 {
		r.Body = fmt.Appendf(nil, `{"update":{"updateId":{"provider":"Contoso","name":"T","version":%q}}}`, f[2])
	}
	a, err := p.guard.Local(p.t.Context(), r)
	if err != nil {
		p.t.Fatal(err)
	}
	return a
}

func (p *play) expectView(s *step, v View) {
	if s.Sees != nil {
		p.wantSees(v, *s.Sees)
	}
	if s.Told != nil {
		p.wantReport(v, *s.Told)
	}
	if s.Desires != "" && string(v.Desired.Value.Bytes()) != string(js(p.t, s.Desires).Bytes()) {
		p.t.Errorf("the device gets %s, want %s", v.Desired.Value.Bytes(), s.Desires)
	}
	if s.Version != 0 && v.Desired.Version != s.Version {
		p.t.Errorf("$version %d, want %d", v.Desired.Version, s.Version)
	}
	for _, text := range []string{string(v.Report.Bytes()), string(twin.Properties{Value: v.Desired.Value}.Body().Bytes())} {
		if strings.Contains(text, "Secret Role") {
			p.t.Errorf("tells a role's name: %s", text)
		}
	}
}

func (p *play) expect(s *step, r Reports, a Answer) {
	state := p.guard.State("d1")
	if s.Phase != "" {
		p.wantPhase(s.Phase)
	}
	if s.Pending != "" {
		got := "none"
		if state.Pending != nil {
			got = state.Pending.ID + " " + string(state.Pending.Phase)
		}
		if got != s.Pending {
			p.t.Errorf("waiting: %s, want %s", got, s.Pending)
		}
	}
	if s.Audited != nil {
		var got []string
		for _, rec := range p.audit[p.seen:] {
			word := cmp.Or(rec.Reason, string(rec.Phase))
			if rec.Allowed {
				word = string(rec.Phase)
			}
			got = append(got, strings.TrimSpace(string(rec.Action)+" "+rec.Workflow)+" "+word)
		}
		if !slices.Equal(got, s.Audited) {
			p.t.Errorf("audited %q, want %q", got, s.Audited)
		}
	}
	for _, rec := range p.audit[p.seen:] {
		if strings.Contains(rec.Detail, "://") || strings.Contains(rec.Detail, "?sig=") {
			p.t.Errorf("an address is in the audit: %+v", rec)
		}
	}
	p.seen = len(p.audit)
	for _, part := range []struct {
		want string
		got  strictjson.Value
	}{{s.Up, r.Now}, {s.Later, r.Later}} {
		switch {
		case part.want == "":
		case part.want == "-":
			if part.got.Kind() != strictjson.Absent {
				p.t.Errorf("goes up: %s", part.got.Bytes())
			}
		case string(part.got.Bytes()) != string(js(p.t, part.want).Bytes()):
			p.t.Errorf("report %s, want %s", part.got.Bytes(), part.want)
		}
	}
	if s.Status != 0 && a.Status != s.Status {
		p.t.Errorf("answered %d %s, want %d", a.Status, a.Body, s.Status)
	}
	if s.Asked != nil && !slices.Equal(p.asked, s.Asked) {
		p.t.Errorf("asked about %v, want %v", p.asked, s.Asked)
	}
	if s.NotAsked && len(p.asked) > 0 {
		p.t.Errorf("asked about %v", p.asked)
	}
}
