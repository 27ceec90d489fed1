package update

import (
	"strings"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// Report is what a device says of its agent (docs/spec/device-update.md 3.6).
type Report struct {
	HasState   bool
	State      int64 // 0 idle, 6 in progress, 255 failed
	Workflow   string
	HasResult  bool
	Result     int64             // resultCode
	Installed  string            // updateId, "" when not named
	Properties map[string]string // nil when not named
	Contract   int               // 0 when not named
}

// The states of an agent, as numbers (docs/spec/device-update.md 3.6).
const (
	stateIdle, stateInProgress, stateFailed = 0, 6, 255
	resultApplied, resultCancelled          = 700, -1
)

// ParseReport reads deviceUpdate.agent of a reported patch. What is not
// understood is not known: a report is never refused.
func ParseReport(agent strictjson.Value) Report {
	var r Report
	r.State, r.HasState = agent.Get("state").Int()
	r.Workflow, _ = agent.At("workflow", "id").Str()
	r.Result, r.HasResult = agent.At("lastInstallResult", "resultCode").Int()
	if s, ok := agent.Get("installedUpdateId").Str(); ok {
		if v, err := strictjson.Parse([]byte(s), strictjson.Limits{Bytes: 8 << 10, Depth: 4, Values: 64}); err == nil {
			p, _ := v.Get("provider").Str()
			n, _ := v.Get("name").Str()
			w, _ := v.Get("version").Str()
			r.Installed = p + "/" + n + "/" + w
		}
	}
	if props := agent.Get("deviceProperties"); props.Kind() == strictjson.Object {
		r.Properties = map[string]string{}
		for _, m := range props.Members() {
			if s, ok := m.Value.Str(); ok {
				r.Properties[m.Name] = s
			}
		}
		model := r.Properties["contractModelId"]
		for n, suffix := range []string{"", ";1", ";2", ";3"} {
			if n > 0 && strings.HasSuffix(model, suffix) {
				r.Contract = n
			}
		}
	}
	return r
}

// reported moves the current deployment along.
func reported(s State, e Reported) (State, []Effect) {
	if e.Properties != nil {
		s.Properties = e.Properties
	}
	if e.Contract != 0 {
		s.Contract = e.Contract
	}
	if e.Installed != "" {
		s.Installed = e.Installed
	}
	c := s.Current
	if c == nil {
		return s, nil
	}
	cancelling := s.cancelling()
	if e.Workflow != c.ID && (e.Workflow != noDeployment || !cancelling) {
		return s, nil
	}
	d := *c
	d.Heard = e.Now
	if e.HasState && (!d.Phase.terminal() || d.Phase == Failed) {
		d.Phase = next(d, e.Report, s.Installed, cancelling)
	}
	s.Current = &d
	if d.Phase == c.Phase {
		return s, nil
	}
	return s, []Effect{Note{Allowed: true, Deployment: d}}
}

func next(d Deployment, r Report, installed string, cancelling bool) Phase {
	switch r.State {
	case stateInProgress:
		return InProgress
	case stateFailed:
		return Failed
	case stateIdle:
		switch {
		case r.HasResult && r.Result == resultApplied && installed == d.Update:
			return Succeeded
		case r.HasResult && r.Result == resultCancelled, r.Workflow == noDeployment, cancelling && d.Phase != Failed:
			return Cancelled
		case d.Phase == Failed, d.Phase == InProgress:
			return Failed // some report 255 and then 0
		}
	}
	return d.Phase
}
