package gateway

import (
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// gate is what the broker asks: the topic map for rights, and for the right to
// stay connected also whether the credential that proved the principal would still do so.
// A key that was rolled ends the connections that used it.
type gate struct {
	topics   *access.Map
	identity *identity.Authenticator
	decided  func(time.Duration) // told how long one publish in sampleEvery took to decide
	asked    atomic.Uint64
}

// sampleEvery keeps the clock away from most decisions.
const sampleEvery = 64

// Open implements the broker's Access.
func (g *gate) Open(p *principal.Principal) broker.Rights {
	return &gatedRights{Rights: g.topics.Open(p), p: p, gate: g}
}

type gatedRights struct {
	*access.Rights
	p    *principal.Principal
	gate *gate
}

// Subscribe implements broker.Rights. What a listener may make of a refusal is said with it.
func (r *gatedRights) Subscribe(filter string) message.Verdict {
	v := r.Rights.Subscribe(filter)
	if !v.Allowed {
		v.Filterable = r.gate.topics.Open(r.p, access.Filtered()).Subscribe(filter).Allowed
	}
	return v
}

// Publish implements broker.Rights.
func (r *gatedRights) Publish(topic string, m *message.Message) message.Verdict {
	if r.gate.asked.Add(1)%sampleEvery != 0 {
		return r.Rights.Publish(topic, m)
	}
	began := time.Now()
	v := r.Rights.Publish(topic, m)
	r.gate.decided(time.Since(began))
	return v
}

// Connect implements broker.Rights.
func (r *gatedRights) Connect() message.Verdict {
	if lost := r.gate.identity.Still(r.p); lost != nil {
		if v := r.Rights.Connect(); lost.Reason == "expired" && !v.Allowed {
			return v // a lost right is said before an expiry, which is none
		}
		return message.Verdict{Reason: lost.Reason, Detail: lost.Detail, Code: lost.Code}
	}
	return r.Rights.Connect()
}
