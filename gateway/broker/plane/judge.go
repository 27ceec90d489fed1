package plane

import (
	"sync"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// judges remembers the rights of publishers whose messages are stored. Rights
// answer for the present, so remembering them remembers no decision.
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

// Judge tells whether the publisher of a stored message may publish it now,
// with the identity set of then. What the gateway itself publishes, it may. A
// republished message is judged by its original topic (docs/spec/semantics.md 3.9).
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

// Rights are those of a publisher that is not a session: an upstream link.
func (p *Plane) Rights(who *principal.Principal) session.Rights { return p.judges.of(who) }
