package upstream

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
)

// Overflow is what happens to a message for which the outbox has no capacity.
type Overflow uint8

// The overflow policies. Refuse is the default. With the others, messages of the route that were
// acknowledged may be lost.
const (
	Refuse Overflow = iota
	DropOldest
	DropNewest
)

// MaxTopic is the longest string that MQTT can carry, in bytes.
const MaxTopic = 65535

// Route sends matching messages upstream.
type Route struct {
	Name string
	// Handlings are the kinds of publish that the route takes; empty: Fanout and Telemetry.
	Handlings []message.Handling
	// Filter is a topic filter on the message's topic; empty: every topic but $….
	Filter string
	// Topics rename what goes up: the first rule that matches the message's topic gives the
	// upstream topic and the highest QoS. Without a match both are those of the message.
	Topics []mapping.Rule
	// Priority: higher is sent first.
	Priority int
	// TTL bounds how long a message waits; 0: for ever (or until the message itself expires).
	TTL      time.Duration
	Overflow Overflow
}

// route is a Route that was checked.
type route struct {
	Route
	filter string
}

// Problem is a mistake in the configuration of routes.
type Problem struct{ Route, Message, Hint string }

func (p Problem) Error() string { return fmt.Sprintf("route %q: %s (%s)", p.Route, p.Message, p.Hint) }

func compileRoutes(list []Route) ([]*route, []Problem) {
	var out []*route
	var bad []Problem
	names := map[string]bool{}
	for _, r := range list {
		if len(r.Handlings) == 0 {
			r.Handlings = []message.Handling{message.Fanout, message.Telemetry}
		}
		c := &route{Route: r, filter: r.Filter}
		if names[r.Name] || r.Name == "" {
			bad = append(bad, Problem{r.Name, "the name is missing or used twice", "give each route its own name"})
		}
		names[r.Name] = true
		if r.Filter != "" {
			if err := topic.DefaultLimits().Filter(r.Filter); err != nil {
				bad = append(bad, Problem{r.Name, "the filter is malformed: " + err.Error(), "use an MQTT topic filter"})
			}
		}
		for _, rule := range r.Topics {
			if err := topic.DefaultLimits().Filter(rule.Filter); err != nil {
				bad = append(bad, Problem{r.Name, "the filter of a topic rule is malformed: " + err.Error(), "use an MQTT topic filter"})
				continue
			}
			for _, f := range rule.CheckUp() {
				bad = append(bad, Problem{r.Name, fmt.Sprintf("the topic rule for %q: its %s %s", rule.Filter, f.Key, f.Message), f.Hint})
			}
		}
		out = append(out, c)
	}
	return out, bad
}

// matches tells whether the route takes m. What came from upstream never goes back.
func (r *route) matches(m *message.Message) bool {
	if m.Publisher != nil && m.Publisher.Kind == principal.Upstream {
		return false
	}
	if !slices.Contains(r.Handlings, m.Via.Handling) {
		return false
	}
	if r.filter == "" {
		return !strings.HasPrefix(m.Topic, "$")
	}
	return topic.Match(r.filter, m.Topic)
}

// end is when m expires; zero: never.
func (r *route) end(m *message.Message) time.Time {
	end := m.Expires
	if r.TTL > 0 && !m.Accepted.IsZero() {
		if ttl := m.Accepted.Add(r.TTL); end.IsZero() || ttl.Before(end) {
			end = ttl
		}
	}
	return end
}

// target is the upstream topic of m and the QoS with which it is sent there;
// an error when MQTT cannot carry that topic.
func (r *route) target(m *message.Message) (name string, qos byte, err error) {
	name, qos = m.Topic, m.QoS
	for _, rule := range r.Topics {
		if renamed, ok := rule.Rewrite(m.Topic, func(template string) string { return filled(template, m) }); ok {
			name, qos = renamed, min(qos, rule.QoS)
			break
		}
	}
	if len(name) == 0 || len(name) > MaxTopic || strings.ContainsAny(name, "+#\x00") {
		return "", 0, fmt.Errorf("%w: its upstream topic would be empty, too long or hold a wildcard", ErrUnsendable)
	}
	return name, qos, nil
}

// filled replaces the placeholders of a template by what package access found for the topic (m.Via).
func filled(template string, m *message.Message) string {
	if !strings.Contains(template, "{") {
		return template
	}
	v := &m.Via
	return strings.NewReplacer("{topic}", m.Topic, "{device}", v.Device, "{module}", v.Module,
		"{sensor}", v.Sensor, "{origin}", v.Origin, "{name}", v.Name).Replace(template)
}
