package mqttbroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn"
)

// Lane implements upstream.Connector: all devices share one connection.
func (l *Link) Lane(string) string { return "" }

// Connect implements upstream.Connector: it waits for Run to have a proven connection.
func (l *Link) Connect(ctx context.Context, _ string) (upstream.Conn, error) {
	for {
		l.mu.Lock()
		conn, change := l.conn, l.change
		l.mu.Unlock()
		if conn != nil {
			return lane{conn}, nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

type lane struct{ conn *mqttconn.Conn }

// Send implements upstream.Conn.
func (l lane) Send(to string, m *message.Message, acked func(error)) error {
	err := l.conn.Publish(to, m.QoS, m.Retain, m.Payload, acked)
	if errors.Is(err, mqttconn.ErrString) {
		return fmt.Errorf("%w: %w", upstream.ErrUnsendable, err)
	}
	return err
}

// Done implements upstream.Conn.
func (l lane) Done() <-chan struct{} { return l.conn.Done() }

// Release implements upstream.Conn; the connection belongs to Run.
func (l lane) Release(broken bool) {
	if broken {
		l.conn.Fail("the broker does not acknowledge messages")
	}
}

// local returns the topic that a message from upstream gets in the gateway, and the
// rule that gave it; or "", and why there is none.
func (l *Link) local(name string) (to string, rule *mapping.Rule, why string) {
	for i := range l.opt.Down {
		to, ok := l.opt.Down[i].Rewrite(name, nil)
		switch {
		case !ok:
			continue
		case topic.DefaultLimits().Name(to) != nil:
			return "", nil, "invalid-topic"
		case mapping.Reserved(to):
			return "", nil, "reserved-topic"
		}
		return to, &l.opt.Down[i], ""
	}
	return "", nil, "unmapped"
}

// subscriptions are the widest of the filters that are taken down: a broker
// may send a message once for each subscription that matches it. Each has the
// highest QoS of the filters within it.
func subscriptions(down []mapping.Rule) []mqttconn.Subscription {
	var list []mqttconn.Subscription
	for i, d := range down {
		inAnother := func(j int) bool {
			return topic.Contains(down[j].Filter, d.Filter) && (j < i || !topic.Contains(d.Filter, down[j].Filter))
		}
		s := mqttconn.Subscription{Filter: d.Filter, QoS: d.QoS}
		widest := true
		for j := range down {
			if j == i {
				continue
			}
			widest = widest && !inAnother(j)
			if topic.Contains(d.Filter, down[j].Filter) {
				s.QoS = max(s.QoS, down[j].QoS)
			}
		}
		if widest {
			list = append(list, s)
		}
	}
	return list
}

// arrived handles one message from upstream, in order.
func (l *Link) arrived(m mqttconn.Message) {
	if m.Topic == l.opt.ProbeTopic {
		m.Ack()
		select {
		case l.probe <- string(m.Payload):
		default: // no probe is under way: another client wrote to the probe topic
		}
		return
	}
	name, rule, why := l.local(m.Topic)
	if why == "" && l.opt.Receive == nil {
		why = "no-receiver"
	}
	if why != "" {
		m.Ack()
		l.mu.Lock()
		l.status.Ignored[why]++
		l.mu.Unlock()
		return
	}
	l.mu.Lock()
	l.status.Received++
	l.mu.Unlock()
	l.opt.Receive(&message.Message{
		Topic:     name,
		Payload:   m.Payload,
		QoS:       min(m.QoS, rule.QoS),
		Retain:    m.Retained,
		Accepted:  time.Now(),
		Publisher: l.opt.Principal,
	}, func(err error) {
		// A message that one receiver's queue was too full for is acknowledged too: if
		// the broker kept it, it would delay the messages for all other receivers.
		var refused *message.Refused
		if message.Final(err) || errors.As(err, &refused) && refused.Code == message.QuotaExceeded {
			m.Ack()
		}
	})
}

// checkTopics refuses malformed rules, and rules that form a loop: a topic that goes
// up must not match a filter that is taken down, unless Options.Bridge asks the broker
// not to send it back.
func checkTopics(o Options) error {
	var errs []error
	for _, d := range o.Down {
		if err := topic.DefaultLimits().Filter(d.Filter); err != nil {
			errs = append(errs, fmt.Errorf("upstream topic filter %q: %w", d.Filter, err))
			continue
		}
		for _, f := range d.CheckDown() {
			errs = append(errs, fmt.Errorf("upstream topic filter %q: %w", d.Filter, f))
		}
	}
	if o.Bridge || len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, r := range o.Routes {
		source := mapping.Source{Name: r.Name, Filter: cmp.Or(r.Filter, "#")}
		for _, l := range mapping.Loops([]mapping.Source{source}, r.Topics, o.Down) {
			errs = append(
				errs,
				fmt.Errorf("loop: route %q sends to %q, and %q takes it down again (give one of them another prefix, or set bridge)",
					l.Source, l.Sends, o.Down[l.Down].Filter),
			)
		}
	}
	return errors.Join(errs...)
}
