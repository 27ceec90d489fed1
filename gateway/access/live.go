package access

import (
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Live opens the rights of connected sessions for the broker. They differ from Rights in
// Connect, which also requires that the credential by which the principal connected would still
// be accepted. Rolling a key thereby ends the connections that used it.
type Live struct {
	Control *Control
	// Still returns nil while the principal's credential would be accepted, and otherwise why not.
	// It must not wait.
	Still func(*principal.Principal) *principal.Refusal
	// Decided is given the duration of one publish decision out of sampleEvery.
	Decided func(time.Duration)

	asked atomic.Uint64
}

// sampleEvery limits how often a decision is timed, because reading the clock costs a good part
// of a decision.
const sampleEvery = 64

// Open returns the rights of a connected principal. It is cheap and does no I/O.
func (l *Live) Open(p *principal.Principal) *LiveRights {
	return &LiveRights{Rights: l.Control.Open(p), live: l}
}

// LiveRights are the Rights of one connected session. Safe for concurrent use.
type LiveRights struct {
	*Rights
	live *Live
}

// Connect decides whether the principal may stay connected. If both a right and the
// credential's validity were lost, the lost right is reported: a session whose credential
// merely expired keeps its will and its stored state, and a session whose right was withdrawn
// must not.
func (r *LiveRights) Connect() message.Verdict {
	v := r.Rights.Connect()
	lost := r.live.Still(r.p)
	if lost == nil || lost.Reason == "expired" && !v.Allowed {
		return v
	}
	return message.Verdict{Reason: lost.Reason, Detail: lost.Detail, Code: lost.Code}
}

// Publish decides a PUBLISH, and times one in sampleEvery.
func (r *LiveRights) Publish(topic string, m *message.Message) message.Verdict {
	if r.live.asked.Add(1)%sampleEvery != 0 {
		return r.Rights.Publish(topic, m)
	}
	began := time.Now()
	v := r.Rights.Publish(topic, m)
	r.live.Decided(time.Since(began))
	return v
}

// Subscribe decides a filter. A refusal also states (Filterable) whether a listener that
// decides every delivery may accept the filter nevertheless.
func (r *LiveRights) Subscribe(filter string) message.Verdict {
	v := r.Rights.Subscribe(filter)
	if !v.Allowed {
		v.Filterable = r.control.Open(r.p, Filtered()).Subscribe(filter).Allowed
	}
	return v
}
