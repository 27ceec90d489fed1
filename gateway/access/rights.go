package access

import (
	"strings"
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Rights answers the questions about one session. Safe for concurrent use. While the principal
// may not be connected, every other question is refused as well, so that nothing passes between
// the loss of that right and the end of the connection.
type Rights struct {
	control  *Control
	p        *principal.Principal
	filtered bool
	state    atomic.Pointer[state]
}

// state is what a session has decided in one epoch.
type state struct {
	epoch    epoch
	policies uint64
	rights   uint64
	connect  message.Verdict
	cache    *cache
}

// open returns a decider on the current snapshots and the session's state that belongs to them.
func (r *Rights) open() (decider, *state) {
	d := decider{env: r.control.env(), p: r.p}
	s := r.state.Load()
	if s != nil && s.epoch == d.epoch && s.policies == d.policies {
		return d, s
	}
	next := &state{epoch: d.epoch, policies: d.policies}
	if d.policy != nil {
		next.rights = d.policy.RightsVersion(&r.p.Subject)
	}
	if s != nil && s.epoch == next.epoch && s.rights == next.rights && d.ready {
		// The policy changed, but not the rights of this principal.
		next.connect, next.cache = s.connect, s.cache
	} else {
		next.connect, next.cache = d.connectVerdict(), &cache{}
	}
	r.state.Store(next)
	return d, next
}

// Connect decides whether the principal may connect, or stay connected.
func (r *Rights) Connect() message.Verdict {
	_, s := r.open()
	return s.connect
}

// Publish decides a PUBLISH. topic is the topic name after a topic alias has been resolved.
func (r *Rights) Publish(topic string, m *message.Message) message.Verdict {
	d, s := r.open()
	if v, ok := s.cache.published(topic); ok {
		return v
	}
	if !s.connect.Allowed {
		return s.connect
	}
	v := d.publishVerdict(topic, m)
	switch v.Route.Handling {
	case message.Telemetry, message.Fanout, message.CloudToDevice:
		// A refusal has no route, so it may also be that of a request whose response topic was wrong.
		// The next request on this topic may have a good one.
		if v.Allowed || m == nil || m.Props.ResponseTopic == "" {
			s.cache.keepPublished(topic, v)
		}
	}
	return v
}

// Will decides a will message, at CONNECT and again when it is published. Only telemetry topics
// and topics of the operator's rows may carry one.
func (r *Rights) Will(topic string) message.Verdict {
	d, s := r.open()
	if !s.connect.Allowed {
		return s.connect
	}
	v := d.publishVerdict(topic, nil)
	if v.Allowed && v.Route.Handling != message.Telemetry && v.Route.Handling != message.Fanout {
		return denied(refuse(NoWill, "wills belong on telemetry and the operator's rows"))
	}
	return v
}

// Subscribe decides a filter as the client wrote it, including $share.
func (r *Rights) Subscribe(filter string) message.Verdict {
	d, s := r.open()
	if !s.connect.Allowed {
		return s.connect
	}
	return d.subscribeVerdict(filter, r.filtered)
}

// Deliver decides whether the message may be handed to this session now. The publisher's right
// is decided again too, because the message may have waited since it was published.
func (r *Rights) Deliver(m *message.Message) bool {
	if m == nil || m.Publisher == nil || m.Topic == "" {
		return false
	}
	d, s := r.open()
	if !s.connect.Allowed {
		return false
	}
	k := deliverKey{topic: m.Topic, publisher: m.Publisher}
	if strings.HasPrefix(m.Topic, "spaces/") {
		k.via = m.Via.Topic
	}
	if e, ok := s.cache.delivered(k); ok {
		if e.policies == d.policies {
			return e.ok
		}
		if e.publisher == d.publisherVersion(m) {
			e.policies = d.policies
			s.cache.keepDelivered(k, e)
			return e.ok
		}
	}
	out, private := d.deliverOutcome(m)
	if !private && d.ready {
		s.cache.keepDelivered(k, delivery{out.ok, d.policies, d.publisherVersion(m)})
	}
	return out.ok
}

func (d *decider) publisherVersion(m *message.Message) uint64 {
	if d.policy == nil {
		return 0
	}
	return d.policy.RightsVersion(&m.Publisher.Subject)
}

// precondition refuses every question while there is no policy or registry, or the offline
// stage is expired.
func (d *decider) precondition() outcome {
	switch {
	case !d.ready:
		return refuse(NoPolicy, "the gateway has no policy or no registry yet")
	case d.stage >= offline.Expired && d.p.Kind != principal.Gateway:
		return refuse(CacheExpired, "the cloud has not been seen for longer than offline.expired")
	}
	return outcome{ok: true}
}

func (d *decider) connectVerdict() message.Verdict {
	out := d.precondition()
	if out.ok {
		d.trace.row(&binding{row: d.topicMap.connect})
		out = d.connect()
	}
	return verdict(d.topicMap.connect, out, out.watchable())
}

func (d *decider) publishVerdict(name string, m *message.Message) message.Verdict {
	if err := d.set.limits.Name(name); err != nil {
		return denied(outcome{reason: BadTopic, detail: err.Error(), code: message.TopicNameInvalid})
	}
	var b binding
	if !d.ready || !d.find(name, &b) {
		out := d.precondition()
		if out.ok {
			out = refuse(NoRow, "no row of the topic map carries this topic")
		}
		if out.reason == NoRow && d.p.Kind == principal.Gateway {
			return message.Verdict{Allowed: true, Reason: ItsGateway, Route: message.Route{Topic: name}}
		}
		return denied(out)
	}
	d.trace.row(&b)
	if d.p.Kind == principal.Gateway {
		return message.Verdict{Allowed: true, Reason: ItsGateway, Route: message.Route{Topic: name, Device: b.device.text, Module: b.module.text}}
	}
	var route message.Route
	out := d.publish(&b, name, m, &route)
	if g := d.precondition(); !g.ok {
		out = g
	}
	v := verdict(b.row, out, out.watchable())
	if v.Allowed {
		v.Route = route
	}
	return v
}

func (d *decider) subscribeVerdict(filter string, filtered bool) message.Verdict {
	sub, err := d.set.limits.Subscription(filter)
	if err != nil {
		return denied(outcome{reason: BadFilter, detail: err.Error(), code: message.TopicFilterInvalid})
	}
	if d.p.Kind == principal.Upstream || d.p.Kind == principal.Gateway {
		return denied(refuse(UnknownKind, "links and the gateway itself do not subscribe"))
	}
	if out := d.precondition(); !out.ok {
		return denied(out)
	}
	out, at := d.subscribe(sub.Filter, sub.Shared(), filtered)
	if at == nil {
		return denied(out)
	}
	return verdict(at, out, out.reason != SharedPrivate && out.watchable())
}

// deliverOutcome decides a delivery. private is true if the answer depends on more than topic
// and publisher, so that it must not be cached.
func (d *decider) deliverOutcome(m *message.Message) (out outcome, private bool) {
	if out = d.precondition(); !out.ok {
		return out, false
	}
	var b binding
	if d.set.limits.Name(m.Topic) != nil || !d.find(m.Topic, &b) {
		return refuse(NoRow, ""), false
	}
	d.trace.row(&b)
	out = d.readable(&b, m)
	if b.row.private {
		return out, true
	}
	if watched := b.row.reportOnly && out.watchable(); !out.ok && !watched {
		return out, false
	}
	if !d.stands(m) {
		return refuse(PublisherLost, m.Publisher.Key), false
	}
	out.ok = true
	return out, false
}

// stands decides whether the publisher may still publish this message. A mirrored reading is
// decided by its original topic.
func (d *decider) stands(m *message.Message) bool {
	if m.Publisher.Kind == principal.Gateway {
		return true
	}
	name := m.Topic
	if strings.HasPrefix(name, "spaces/") {
		name = m.Via.Topic
	}
	if name == "" {
		return false
	}
	by := decider{env: d.env, p: m.Publisher, trace: d.trace}
	return by.publishVerdict(name, m).Allowed
}
