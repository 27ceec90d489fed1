package access

import (
	"fmt"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Step is one check that was made on the way to a decision.
type Step struct {
	Row      string         `json:"row,omitempty"`   // the row to which the following steps belong
	Check    string         `json:"check,omitempty"` // a relation that was checked: "acts for", "any grant"
	Needs    string         `json:"needs,omitempty"` // an operation or data action
	At       string         `json:"at,omitempty"`    // space path, ARM id, or the other party of the relation
	OK       bool           `json:"ok"`
	Reason   string         `json:"reason,omitempty"`
	Decision *authz.Outcome `json:"decision,omitempty"`
}

// Explanation is a decision with the steps that led to it.
type Explanation struct {
	Principal  string        `json:"principal"`
	Operation  string        `json:"operation"`
	Topic      string        `json:"topic,omitempty"`
	Row        string        `json:"row,omitempty"` // the row that decided: that of the last step
	Allowed    bool          `json:"allowed"`
	ReportOnly bool          `json:"reportOnly,omitempty"`
	Reason     string        `json:"reason"`
	Detail     string        `json:"detail,omitempty"`
	Stage      string        `json:"stage"`
	Version    string        `json:"version"` // of the policy
	Steps      []Step        `json:"steps"`
	Route      message.Route `json:"-"`
}

// Explain decides a hypothetical operation of the principal: op is connect, publish, will,
// subscribe or receive (deliver means the same as receive). It runs the code that decides real
// operations, but without a cache, and changes nothing.
func (c *Control) Explain(p *principal.Principal, op, name string) (Explanation, error) {
	t := &trace{}
	d := decider{env: c.env(), p: p, trace: t}
	x := Explanation{Principal: p.Key, Operation: op, Topic: name, Stage: d.stage.String()}
	if d.policy != nil {
		x.Version = d.policy.Version().String()
	}
	v := d.connectVerdict()
	if v.Allowed {
		switch op {
		case "connect":
		case "publish", "will":
			v = d.publishVerdict(name, nil)
			if op == "will" {
				v = (&Rights{control: c, p: p}).Will(name)
			}
		case "subscribe":
			v = d.subscribeVerdict(name, false)
		case "receive", "deliver":
			v = d.receiveVerdict(name)
		default:
			return Explanation{}, fmt.Errorf("no operation %q: want connect, publish, will, subscribe or receive", op)
		}
	}
	x.Allowed, x.ReportOnly, x.Reason, x.Detail, x.Route = v.Allowed, v.ReportOnly, v.Reason, v.Detail, v.Route
	x.Steps = t.steps
	for _, s := range t.steps {
		if s.Row != "" {
			x.Row = s.Row
		}
	}
	return x, nil
}

// receiveVerdict decides the subscriber's side of a delivery; the publisher's side is not known
// here.
func (d *decider) receiveVerdict(name string) message.Verdict {
	var b binding
	if err := d.set.limits.Name(name); err != nil {
		return denied(outcome{reason: BadTopic, detail: err.Error(), code: message.TopicNameInvalid})
	}
	if !d.find(name, &b) {
		return denied(refuse(NoRow, ""))
	}
	d.trace.row(&b)
	out := d.receive(&b)
	return verdict(b.row, out, out.watchable())
}

// trace collects steps. A nil trace collects nothing.
type trace struct{ steps []Step }

const maxSteps = 256 // a wide filter asks about every row

func (t *trace) add(s Step) {
	if len(t.steps) < maxSteps {
		t.steps = append(t.steps, s)
	}
}

func (t *trace) row(b *binding) {
	if t != nil {
		t.add(Step{Row: b.row.name, OK: true})
	}
}

func (t *trace) note(check, of string, ok bool) {
	if t != nil {
		t.add(Step{Check: check, At: of, OK: ok})
	}
}

func (t *trace) step(op model.Operation, at place, ok bool, reason string, dec authz.Decision) {
	if t != nil {
		d := dec.Outcome()
		t.add(Step{
			Needs:    op.String(),
			At:       at.path.String(),
			OK:       ok,
			Reason:   reason,
			Decision: &d,
		})
	}
}

func (t *trace) action(needs, scope string, dec authz.Decision) {
	if t != nil {
		d := dec.Outcome()
		t.add(Step{
			Needs:    needs,
			At:       scope,
			OK:       d.Allowed,
			Reason:   d.Reason.String(),
			Decision: &d,
		})
	}
}
