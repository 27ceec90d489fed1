package access

import (
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Live opens the rights of connected sessions for the broker. They differ from
// Rights in one answer: a session may stay connected only as long as the
// credential that proved its principal would still do so. A key that was rolled
// ends the connections that used it.
type Live struct {
	Control *Control
	// Still is nil while the principal's credential would be accepted, or why it
	// would not be any more. It does not wait.
	Still func(*principal.Principal) *principal.Refusal
	// Decided is told how long one publish in sampleEvery took to decide.
	Decided func(time.Duration)

	asked atomic.Uint64
}

// sampleEvery keeps the clock away from most decisions.
const sampleEvery = 64

// Open gives the rights of a connected principal: cheap, without I/O.
func (l *Live) Open(p *principal.Principal) *LiveRights {
	return &LiveRights{Rights: l.Control.Open(p), live: l}
}

// LiveRights are the Rights of one connected session. Safe for concurrent use.
type LiveRights struct {
	*Rights
	live *Live
}

// Connect decides whether the principal may stay connected. A right that was lost is
// said before an expiry: a session whose credential merely expired keeps its
// will and its stored state, and one whose right was withdrawn does not.
func (r *LiveRights) Connect() message.Verdict {
	v := r.Rights.Connect()
	lost := r.live.Still(r.p)
	if lost == nil || lost.Reason == "expired" && !v.Allowed {
		return v
	}
	return message.Verdict{Reason: lost.Reason, Detail: lost.Detail, Code: lost.Code}
}

// Publish decides a PUBLISH, and measures some.
func (r *LiveRights) Publish(topic string, m *message.Message) message.Verdict {
	if r.live.asked.Add(1)%sampleEvery != 0 {
		return r.Rights.Publish(topic, m)
	}
	began := time.Now()
	v := r.Rights.Publish(topic, m)
	r.live.Decided(time.Since(began))
	return v
}

// Subscribe decides a filter. A refusal also says whether a listener that
// filters deliveries one by one may accept it.
func (r *LiveRights) Subscribe(filter string) message.Verdict {
	v := r.Rights.Subscribe(filter)
	if !v.Allowed {
		v.Filterable = r.control.Open(r.p, Filtered()).Subscribe(filter).Allowed
	}
	return v
}
