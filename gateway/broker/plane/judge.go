package plane

import (
	"sync"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// judges caches the Rights values of publishers whose messages are decided again. Rights
// answer by the policy in force at each call, so the cache keeps no decision.
type judges struct {
	access session.Access
	mu     sync.Mutex // guards known
	known  map[*principal.Principal]session.Rights
}

const maxJudges = 4096

func (j *judges) of(p *principal.Principal) session.Rights {
	j.mu.Lock()
	defer j.mu.Unlock()
	if r, ok := j.known[p]; ok {
		return r
	}
	if j.known == nil || len(j.known) >= maxJudges {
		j.known = map[*principal.Principal]session.Rights{}
	}
	r := j.access.Open(p)
	j.known[p] = r
	return r
}

// Judge reports whether the publisher of a queued or retained message may publish it
// now. The publisher's identities are those that it had when it published the message. The
// gateway itself may publish everything. A republished message is decided by its
// original topic (docs/spec/semantics.md 3.9).
func (p *Plane) Judge(m *message.Message) bool {
	if m.Publisher == nil {
		return false
	}
	if m.Publisher.Kind == principal.Gateway {
		return true
	}
	name := m.Topic
	if m.Via.Mirror != "" && m.Via.Mirror == name && m.Via.Topic != "" {
		name = m.Via.Topic
	}
	return p.judges.of(m.Publisher).Publish(name, m).Allowed
}

// Rights returns the rights of a publisher that has no session, such as an upstream link.
func (p *Plane) Rights(who *principal.Principal) session.Rights { return p.judges.of(who) }
