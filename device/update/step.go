package update

import "time"

// Event is something that happened to a device's deployments.
type Event interface{ event() }

type (
	// An Offer says that somebody wants the device to see this service.
	Offer struct {
		Now     time.Time
		Version int64 // of the hub's desired state
		Service Service
		Who     Initiator
		// Present: the device is here and gets what is released at once.
		Present bool
	}
	// Malformed says that the desired state carries a service that cannot be read.
	Malformed struct {
		Now     time.Time
		Version int64
		Reason  string
	}
	// Withdrawn says that the desired state carries no service any more.
	Withdrawn struct{ Version int64 }
	// Checked answers Verify.
	Checked struct {
		Update string // updateId of the manifest
		Reason string // code of the refusal, "" when good
		Detail string
	}
	// Answered answers Authorise.
	Answered struct {
		Now      time.Time
		Decision Decision
	}
	// Arrived says that the device is here; what is queued may be released.
	Arrived struct{ Now time.Time }
	// Reported is what the device said something about its agent.
	Reported struct {
		Now time.Time
		Report
	}
)

func (Offer) event()     {}
func (Malformed) event() {}
func (Withdrawn) event() {}
func (Checked) event()   {}
func (Answered) event()  {}
func (Arrived) event()   {}
func (Reported) event()  {}

// Effect is something that the runner has to do.
type Effect interface{ effect() }

type (
	// Verify asks for the manifest and the URLs to be checked; answer with Checked.
	Verify struct{ Service Service }
	// Authorise asks about the candidate, or about what is pending; answer with Answered.
	Authorise struct {
		Action           Action
		Released         bool // a cancel of what the device has been shown
		Who              Initiator
		Workflow, Update string
	}
	// Note is for the audit.
	Note struct {
		Allowed bool
		Detail  string
		Deployment
	}
	// ReportRefusal asks for a report upstream.
	ReportRefusal struct {
		Deployment
		Detail string
	}
)

func (Verify) effect()        {}
func (Authorise) effect()     {}
func (Note) effect()          {}
func (ReportRefusal) effect() {}

// Rules are the parameters of Step.
type Rules struct {
	// StuckAfter: a deployment without a report for this long may be retried.
	StuckAfter time.Duration
}

// Step is the guard's logic: what the state becomes and what has to be done.
// It is pure. An effect that asks must be answered before the next other event.
func (r Rules) Step(s State, e Event) (State, []Effect) {
	switch e := e.(type) {
	case Offer:
		return r.offer(s, e)
	case Malformed:
		d := Deployment{Action: Create, ID: "", Version: e.Version, Since: e.Now, Who: Initiator{Hub: true}}
		if e.Version <= s.LocalVersion {
			return s, nil
		}
		s.Version, s.HubWants = max(s.Version, e.Version), ""
		return refuse(s, d, e.Reason, "")
	case Withdrawn:
		return withdraw(s, e)
	case Checked:
		return checked(s, e)
	case Answered:
		return answered(s, e)
	case Arrived:
		return release(s)
	case Reported:
		return reported(s, e)
	}
	return s, nil
}

// offer classifies what is wanted (docs/spec/semantics.md 5.6).
func (r Rules) offer(s State, e Offer) (State, []Effect) {
	if e.Who.Hub {
		if e.Version <= s.LocalVersion {
			return s, nil // this state of the hub is no newer than the local deployment, which stays
		}
		s.Version = max(s.Version, e.Version)
		wants := e.Service.wants()
		if s.local() && wants == s.HubWants && wants == s.LocalOver {
			s.LocalVersion = s.Version // the hub wants what it wanted when the local deployment was made
			return s, nil
		}
		s.HubWants = wants
	} else {
		s.Declined = nil
	}
	d := Deployment{
		Action:  Create,
		ID:      e.Service.ID,
		Retry:   e.Service.Retry,
		Phase:   Offered,
		Who:     e.Who,
		Version: e.Version,
		Since:   e.Now,
		Service: e.Service.Value(),
	}
	if e.Service.Cancel {
		return r.offerCancel(s, e, d)
	}
	if p := s.Pending; p != nil && p.Action != Cancel && p.same(d) {
		return pendingAgain(s, e)
	}
	if c := s.Current; c != nil && c.ID == d.ID {
		stuck := !c.Phase.terminal() && (c.idle(e.Now) >= r.StuckAfter || s.cancelling())
		switch {
		case d.Retry != c.Retry && d.Retry != "":
			d.Action = Retry
			if c.Phase != Failed && c.Phase != Cancelled && !stuck {
				taken := takeBack(&s, d)
				s, effects := refuse(s, d, "retry-not-applicable", "the deployment is "+string(c.Phase))
				return s, append(taken, effects...)
			}
		// A timestamp that disappears is no retry (docs/spec/device-update.md 3.4).
		case s.Shown != nil:
			return duplicate(s, d)
		}
		// Else it was taken away and comes back: showing it is an action again.
	}
	s.candidate = &candidate{d: d, service: e.Service, present: e.Present}
	return s, []Effect{Verify{e.Service}}
}

func (r Rules) offerCancel(s State, e Offer, d Deployment) (State, []Effect) {
	d.Action = Cancel
	if c := s.active(); c != nil {
		d.Binds = c.ID
	}
	// A cancel of a deployment that is only queued or held ends it here, and the
	// device is not told.
	pendingApply := s.Pending != nil && s.Pending.Action != Cancel
	if e.Service.ID != noDeployment && e.Service.ID != d.Binds && (d.Binds != "" || pendingApply) {
		if !pendingApply || s.Pending.ID != e.Service.ID {
			return refuse(s, d, "cancel-of-another-workflow", "")
		}
		d.Binds = ""
	}
	if p := s.Pending; p != nil && p.Action == Cancel && p.Binds == d.Binds {
		return pendingAgain(s, e)
	}
	if !pendingApply && s.Shown != nil && s.Shown.Action == Cancel && (d.Binds == "" || s.Shown.Binds == d.Binds) {
		return duplicate(s, d)
	}
	s.candidate = &candidate{d: d, service: e.Service, present: e.Present}
	return s, []Effect{ask(d)}
}

// ask is the question that a deployment raises.
func ask(d Deployment) Authorise {
	return Authorise{d.Action, d.Action == Cancel && d.Binds != "", d.Who, d.ID, d.Update}
}

// same tells whether two applies are the same offer, content included.
func (d *Deployment) same(o Deployment) bool {
	return d.ID == o.ID && d.Retry == o.Retry && string(d.Service.Bytes()) == string(o.Service.Bytes())
}

// duplicate handles an offer that asks for what the device sees already. What the
// device sees stays as it is, even if the offer carries other content under the same
// id.
func duplicate(s State, d Deployment) (State, []Effect) {
	effects := takeBack(&s, d)
	if d.Who.Hub {
		s.endWithheld(d.Version)
		s.Refusal = nil
	}
	return s, effects
}

// takeBack ends the pending deployment if the side that asked for it (hub or local)
// now asks again for what the device sees already. If the pending one were released
// later, no desired state would ask for it.
func takeBack(s *State, d Deployment) []Effect {
	p := s.Pending
	if p == nil || p.Who.Hub != d.Who.Hub {
		return nil
	}
	old := *p
	old.Phase = Superseded
	s.Pending = nil
	return []Effect{Note{Allowed: true, Detail: "its initiator wants again what the device sees", Deployment: old}}
}

// pendingAgain handles an offer that is pending already: its release is tried again.
func pendingAgain(s State, e Offer) (State, []Effect) {
	if s.Pending.Phase == Held {
		s.candidate = &candidate{d: *s.Pending, service: e.Service, present: e.Present}
		s.Pending = nil
		if e.Service.Cancel {
			return s, []Effect{ask(s.candidate.d)}
		}
		return s, []Effect{Verify{e.Service}}
	}
	if e.Present {
		return release(s)
	}
	return s, nil
}

func withdraw(s State, e Withdrawn) (State, []Effect) {
	if e.Version <= s.LocalVersion {
		return s, nil
	}
	s.Version, s.HubWants = max(s.Version, e.Version), ""
	s.endWithheld(e.Version)
	s.Refusal = nil
	if s.Shown != nil && s.Shown.Who.Hub {
		s.Shown = nil
	}
	if s.Pending != nil && s.Pending.Who.Hub {
		s.Pending = nil
	}
	return s, nil
}

func checked(s State, e Checked) (State, []Effect) {
	c := s.candidate
	if c == nil {
		return s, nil
	}
	d := c.d
	if e.Reason != "" {
		return refuse(s, d, e.Reason, e.Detail)
	}
	// An agent that retries runs the manifest it has; another one under the
	// same name would be authorised as something it is not.
	if again := s.Current; again != nil && again.ID == d.ID && again.Update != e.Update {
		reason := "same-id-another-update"
		if d.Action == Retry {
			reason = "retry-of-another-update"
		}
		return refuse(s, d, reason, "")
	}
	d.Update, d.Phase = e.Update, Verified
	s.candidate = &candidate{d: d, service: c.service, present: c.present}
	return s, []Effect{ask(d)}
}
