package gateway

import (
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
}

// Open implements the broker's Access.
func (g *gate) Open(p *principal.Principal) broker.Rights {
	return &gatedRights{Rights: g.topics.Open(p), p: p, identity: g.identity}
}

type gatedRights struct {
	*access.Rights
	p        *principal.Principal
	identity *identity.Authenticator
}

// Connect implements broker.Rights.
func (r *gatedRights) Connect() message.Verdict {
	if lost := r.identity.Still(r.p); lost != nil {
		return message.Verdict{Reason: lost.Reason, Detail: lost.Detail, Code: lost.Code}
	}
	return r.Rights.Connect()
}
