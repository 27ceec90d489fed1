package update

// answered applies a decision: to the candidate if there is one (the offer),
// else to what is pending (the release).
func answered(s State, e Answered) (State, []Effect) {
	if c := s.candidate; c != nil {
		d := c.d
		if !e.Decision.Allowed {
			if e.Decision.Hold {
				return hold(s, d, e.Decision)
			}
			if s.standing(d) && d.Who.Hub {
				return omitStanding(s, d, e.Decision)
			}
			return refuse(s, d, e.Decision.Reason, e.Decision.Detail)
		}
		d.Phase = Authorised
		effects := supersedePending(&s, d)
		effects = append(effects, Note{Allowed: true, Deployment: d})
		if d.Who.Hub {
			s.Refusal = nil
		} else {
			s.LocalVersion, s.LocalOver = s.Version, s.HubWants
		}
		if d.Action == Cancel && d.Binds == "" && s.active() != nil {
			// The deployment that it names only waited, and has ended here. If
			// the device were shown the cancel, it would cancel what it runs,
			// whatever the id.
			s.candidate = nil
			return s, effects
		}
		d.Phase = Queued
		s.candidate, s.Pending = nil, &d
		if !c.present {
			if d.Who.Hub {
				s.withhold(d.Version, true, string(Queued))
			}
			return s, effects
		}
		s, more := release(s)
		return s, append(effects, more...)
	}
	return released(s, e)
}

// supersedePending ends the deployment that is pending. The device is told nothing,
// because it has never seen it.
func supersedePending(s *State, by Deployment) []Effect {
	p := s.Pending
	if p == nil {
		return nil
	}
	old := *p
	old.Phase = Superseded
	if by.Action == Cancel {
		old.Phase = Cancelled
	}
	s.Pending = nil
	return []Effect{Note{Allowed: true, Detail: "ended before the device saw it", Deployment: old}}
}

// release asks the authorizer once more, because the right may have been lost
// while the deployment waited.
func release(s State) (State, []Effect) {
	p := s.Pending
	if p == nil || p.Phase != Queued {
		return s, nil
	}
	if p.Action == Cancel {
		current := ""
		if c := s.active(); c != nil {
			current = c.ID
		}
		if p.Binds != current {
			old := *p
			old.Phase, old.Reason = Superseded, "another workflow is current"
			s.Pending = nil
			if old.Who.Hub {
				s.endWithheld(s.Version)
			}
			return s, []Effect{Note{Deployment: old}}
		}
	}
	return s, []Effect{ask(*p)}
}

func released(s State, e Answered) (State, []Effect) {
	p := s.Pending
	if p == nil {
		return s, nil
	}
	d := *p
	if !e.Decision.Allowed {
		if e.Decision.Hold {
			return s, nil // stays queued
		}
		s.Pending = nil
		if s.standing(d) && d.Who.Hub {
			return omitStanding(s, d, e.Decision)
		}
		return refuse(s, d, e.Decision.Reason, e.Decision.Detail)
	}
	d.Phase, d.Since = Released, e.Now
	var effects []Effect
	if c := s.active(); c != nil && d.Action != Cancel && c.ID != d.ID {
		old := *c
		old.Phase = Superseded
		effects = append(effects, Note{Allowed: true, Deployment: old})
	}
	s.Pending, s.Shown = nil, &d
	if again := d.Action == Create && s.Current != nil && s.Current.ID == d.ID; d.Action != Cancel && !again {
		s.Current = &d // a deployment that is shown again keeps what is known of it
	}
	if d.Who.Hub && (s.Refusal == nil || s.Refusal.Version <= d.Version) {
		s.Refusal = nil
		s.endWithheld(d.Version)
	}
	return s, append(effects, Note{Allowed: true, Deployment: d})
}

// hold keeps the offer for a time when it can be decided.
func hold(s State, d Deployment, why Decision) (State, []Effect) {
	d.Phase, d.Reason = Held, why.Reason
	s.candidate = nil
	if !d.Who.Hub { // a local action is not kept: its initiator can ask again
		return refuse(s, d, why.Reason, why.Detail)
	}
	known := s.Refusal != nil && s.Refusal.Phase == Held && s.Refusal.Version == d.Version && s.Refusal.Reason == why.Reason
	var effects []Effect
	switch p := s.Pending; {
	case p != nil && p.Phase == Queued && p.Who.Hub != d.Who.Hub:
		// Another deployment is pending and was allowed; nobody has been
		// allowed yet to end it.
		s.Refusal = &d
	case p != nil:
		old := *p
		old.Phase = Superseded
		effects = append(effects, Note{Detail: "its initiator wants something else, which is held", Deployment: old})
		fallthrough
	default:
		s.Pending, s.Refusal = &d, &d
	}
	s.withhold(d.Version, true, why.Reason)
	if !known {
		effects = append(effects, Note{Deployment: d, Detail: why.Detail})
	}
	return s, effects
}

// refuse does not forward an offer: the last state that was allowed stays, and
// the refusal is audited and reported once for each version and reason. A local
// action is answered to its requester instead of reported: a report would be
// about a version of the hub of which nothing was refused.
func refuse(s State, d Deployment, reason, detail string) (State, []Effect) {
	d.Phase, d.Reason = Refused, reason
	s.candidate = nil
	if !d.Who.Hub {
		s.Declined = &d
		return s, []Effect{Note{Deployment: d, Detail: detail}}
	}
	known := refusedBefore(s, d)
	s.Refusal = &d
	s.withhold(d.Version, false, reason)
	if known {
		return s, nil
	}
	return s, []Effect{Note{Deployment: d, Detail: detail}, ReportRefusal{Deployment: d, Detail: detail}}
}

func refusedBefore(s State, d Deployment) bool {
	r := s.Refusal
	return r != nil && r.Phase == Refused && r.Version == d.Version && r.Reason == d.Reason && r.Action == d.Action && r.ID == d.ID
}

// omitStanding handles a cancel with nothing to cancel: it is a state of the
// hub, and not an action to be decided.
func omitStanding(s State, d Deployment, why Decision) (State, []Effect) {
	d.Phase, d.Reason = Refused, why.Reason
	s.candidate = nil
	known := refusedBefore(s, d)
	s.Refusal = &d
	s.withhold(d.Version, true, why.Reason)
	if known {
		return s, nil
	}
	return s, []Effect{Note{Deployment: d, Detail: why.Detail}}
}
