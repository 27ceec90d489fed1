package mqttbroker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/topic"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn"
)

// Lane implements upstream.Connector: there is one connection.
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

// Mapping takes messages from upstream into the gateway: those that match
// Filter, under their topic with the prefix Strip replaced by Add.
type Mapping struct{ Filter, Strip, Add string }

// reserved are the names that nothing from upstream may carry (docs/spec/semantics.md 3.10).
var reservedPrefixes = [...]string{"$", "spaces/", "registry/", "deviceupdate/"}

func isReserved(name string) bool {
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(name, p) || name+"/" == p {
			return true
		}
	}
	return false
}

// local is the topic in the gateway; "" and why not.
func (l *Link) local(name string) (string, string) {
	for _, m := range l.opt.Down {
		if !topic.Match(m.Filter, name) {
			continue
		}
		rest, ok := strings.CutPrefix(name, m.Strip)
		if !ok {
			continue
		}
		t := m.Add + rest
		if topic.DefaultLimits().Name(t) != nil {
			return "", "invalid-topic"
		}
		if isReserved(t) {
			return "", "reserved-topic"
		}
		return t, ""
	}
	return "", "unmapped"
}

// arrived handles one message from upstream, in order.
func (l *Link) arrived(m mqttconn.Message) {
	if m.Topic == l.opt.ProbeTopic {
		m.Ack()
		select {
		case l.probe <- string(m.Payload):
		default: // nobody waits: somebody else writes to the topic
		}
		return
	}
	name, why := l.local(m.Topic)
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
	l.opt.Receive(&message.Message{Topic: name, Payload: m.Payload, QoS: m.QoS, Retain: m.Retained,
		Accepted: time.Now(), Publisher: l.opt.Principal}, func(err error) {
		// A receiver that does not keep up is its own matter: what waits for
		// it there would hold up everybody else's messages here.
		var refused *message.Refused
		if message.Final(err) || errors.As(err, &refused) && refused.Code == message.QuotaExceeded {
			m.Ack()
		}
	})
}

// checkMappings refuses malformed mappings, and those by which a message could
// come back: what goes up must match nothing that is taken down, unless the
// broker is asked to keep it apart.
func checkMappings(o Options) error {
	var errs []error
	for _, m := range o.Down {
		if err := topic.DefaultLimits().Filter(m.Filter); err != nil {
			errs = append(errs, fmt.Errorf("upstream topic filter %q: %w", m.Filter, err))
			continue
		}
		if !strings.HasPrefix(m.Filter, m.Strip) {
			errs = append(errs, fmt.Errorf("upstream topic filter %q does not begin with %q, which is to be stripped", m.Filter, m.Strip))
		}
		if m.Add != "" && isReserved(strings.TrimSuffix(m.Add, "/")+"/") {
			errs = append(errs, fmt.Errorf("upstream messages may not be put below %q, which is reserved", m.Add))
		}
		if o.Bridge {
			continue
		}
		for _, r := range o.Routes {
			if up := widest(r); topic.Overlaps(m.Filter, up) {
				errs = append(errs, fmt.Errorf("loop: route %q sends to %q, and %q takes it down again (give one of them a prefix, or set bridge)", r.Name, up, m.Filter))
			}
		}
	}
	return errors.Join(errs...)
}

// widest is the smallest filter known to match everything that a route can send to.
func widest(r upstream.Route) string {
	t := r.Topic
	if t == "" {
		if r.Filter != "" {
			return r.Filter
		}
		return "#"
	}
	levels := strings.Split(t, "/")
	for i, level := range levels {
		if strings.Contains(level, "{topic}") || strings.Contains(level, "{name}") {
			return strings.Join(append(levels[:i:i], "#"), "/") // it may hold any number of levels
		}
		if strings.Contains(level, "{") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}
