package update

import (
	"time"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// Phase is how far a deployment has come.
type Phase string

// The phases, in their order.
const (
	Offered    Phase = "offered"
	Verified   Phase = "verified"
	Authorised Phase = "authorised"
	Held       Phase = "held"     // waits for a decision that can be made
	Queued     Phase = "queued"   // authorised, the device is not here
	Released   Phase = "released" // the device may see it
	InProgress Phase = "in-progress"
	Succeeded  Phase = "succeeded"
	Failed     Phase = "failed"
	Cancelled  Phase = "cancelled"
	Superseded Phase = "superseded"
	Refused    Phase = "refused"
)

// terminal phases are the ends of a deployment.
func (p Phase) terminal() bool {
	return p == Succeeded || p == Failed || p == Cancelled || p == Superseded || p == Refused
}

// Deployment is one action on its way to a device.
type Deployment struct {
	Action  Action    `json:"action"`
	ID      string    `json:"id"`
	Retry   string    `json:"retry,omitempty"`
	Update  string    `json:"update,omitempty"` // updateId, bound at verification
	Phase   Phase     `json:"phase"`
	Reason  string    `json:"reason,omitempty"`
	Who     Initiator `json:"who"`
	Version int64     `json:"version"`         // desired $version it came with
	Binds   string    `json:"binds,omitempty"` // a cancel: the workflow that it ends, "" for a standing one
	Since   time.Time `json:"since"`
	// Heard is when the device last reported on it.
	Heard time.Time `json:"heard,omitzero"`
	// Service is what the device may see.
	Service strictjson.Value `json:"service"`
}

// idle tells how long nothing has been heard of a deployment.
func (d *Deployment) idle(now time.Time) time.Duration {
	last := d.Since
	if d.Heard.After(last) {
		last = d.Heard
	}
	return now.Sub(last)
}

// Withheld is a span of desired versions whose service the device was not shown.
type Withheld struct {
	From   int64  `json:"from"`
	To     int64  `json:"to,omitempty"` // 0: the span has not ended
	Held   bool   `json:"held,omitempty"`
	Reason string `json:"reason"`
}

const keepWithheld = 8

// State is everything known of the deployments of one device. Step never
// changes what a State points to, so that an older State stays good.
type State struct {
	// Shown is what the device sees as deviceUpdate.service; nil: nothing.
	Shown *Deployment `json:"shown,omitempty"`
	// Current is the last apply that was shown: the one a retry and a cancel are about.
	Current *Deployment `json:"current,omitempty"`
	// Pending is authorised or held and not yet shown.
	Pending *Deployment `json:"pending,omitempty"`
	// Refusal is why the hub's newest offer is not shown; nil when it is.
	Refusal  *Deployment `json:"refusal,omitempty"`
	Withheld []Withheld  `json:"withheld,omitempty"`
	// Declined is the last local action, if it was refused. Upstream never
	// asked for it and is told nothing; the deployment that it was about stays
	// as it is.
	Declined *Deployment `json:"declined,omitempty"`
	// LocalVersion is the hub's $version when a local deployment was made:
	// hub states that are not newer do not replace it.
	LocalVersion int64 `json:"localVersion,omitempty"`
	// HubWants is what the hub wants by the newest version, and LocalOver what
	// it wanted when the local deployment was made: as long as it wants the
	// same, a higher $version is about other properties.
	HubWants  string `json:"hubWants,omitempty"`
	LocalOver string `json:"localOver,omitempty"`
	Version   int64  `json:"version"` // highest hub $version judged
	// Properties are the device's compatibility properties as it reported them; Contract its model version, 0 unknown.
	Properties map[string]string `json:"properties,omitempty"`
	Contract   int               `json:"contract,omitempty"`
	Installed  string            `json:"installed,omitempty"` // updateId
	// Noted remembers refusals of components other than deviceUpdate: what was audited at which version.
	Noted map[string]int64 `json:"noted,omitempty"`

	// candidate is the offer that is being judged: only between two Steps.
	candidate *candidate
}

type candidate struct {
	d       Deployment
	service Service
	present bool
}

// active is the workflow that a cancel would end.
func (s State) active() *Deployment {
	if s.Current != nil && !s.Current.Phase.terminal() {
		return s.Current
	}
	return nil
}

// waits tells whether a deployment of this id is queued or held.
func (s State) waits(id string) bool { return s.Pending != nil && s.Pending.ID == id }

// cancelling tells whether the device has been shown the end of its current workflow.
func (s State) cancelling() bool {
	return s.Shown != nil && s.Current != nil && s.Shown.Action == Cancel && s.Shown.Binds == s.Current.ID
}

// standing tells whether a cancel has nothing to cancel on this device.
func (s State) standing(d Deployment) bool {
	return d.Action == Cancel && d.Binds == "" && (s.Pending == nil || s.Pending.Action == Cancel)
}

// local tells whether the deployment that is shown or waits was asked for at
// this gateway.
func (s State) local() bool {
	return s.Shown != nil && !s.Shown.Who.Hub || s.Pending != nil && !s.Pending.Who.Hub
}

// withhold notes that version v shows nothing new, or ends the span.
func (s *State) withhold(v int64, held bool, reason string) {
	last := len(s.Withheld) - 1
	if last >= 0 && s.Withheld[last].To == 0 {
		if s.Withheld[last].Held == held && s.Withheld[last].Reason == reason {
			return
		}
		s.endWithheld(v)
		last = len(s.Withheld) - 1
	}
	spans := append([]Withheld(nil), s.Withheld...)
	if last >= 0 && spans[last].From == v { // the same version, judged again
		spans = spans[:last]
	}
	spans = append(spans, Withheld{From: v, Held: held, Reason: reason})
	if len(spans) > keepWithheld {
		spans = spans[len(spans)-keepWithheld:]
	}
	s.Withheld = spans
}

// endWithheld closes the open span before version v. A span of no versions
// disappears: what is shown at the version of the refusal is no longer withheld.
func (s *State) endWithheld(v int64) {
	last := len(s.Withheld) - 1
	if last < 0 || s.Withheld[last].To != 0 {
		return
	}
	spans := append([]Withheld(nil), s.Withheld...)
	if spans[last].From >= v {
		spans = spans[:last]
	} else {
		spans[last].To = v - 1
	}
	s.Withheld = spans
}

// withheldAt is the span that holds a version.
func (s State) withheldAt(v int64) (Withheld, bool) {
	for i := len(s.Withheld) - 1; i >= 0; i-- {
		if w := s.Withheld[i]; v >= w.From && (w.To == 0 || v <= w.To) {
			return w, true
		}
	}
	return Withheld{}, false
}
