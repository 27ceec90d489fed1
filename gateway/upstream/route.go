package upstream

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Overflow is what happens to a message for which there is no room.
type Overflow uint8

// The overflow policies. Refuse is the default; the others exempt a route from the promise that nothing is lost.
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
	// Handlings are the kinds of publish it takes; empty: Fanout and Telemetry.
	Handlings []message.Handling
	// Filter is a topic filter on the message's topic; empty: every topic but $….
	Filter string
	// Topic is the upstream topic, with {topic}, {device}, {module}, {sensor},
	// {origin} and {name} replaced; empty: the message's own topic.
	Topic string
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

var captures = []string{"topic", "device", "module", "sensor", "origin", "name"}

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
		if name := unknownCapture(r.Topic); name != "" {
			bad = append(bad, Problem{r.Name, "unknown placeholder {" + name + "}", "known: {" + strings.Join(captures, "}, {") + "}"})
		}
		if strings.ContainsAny(r.Topic, "+#\x00") {
			bad = append(bad, Problem{r.Name, "the upstream topic holds a wildcard or NUL", "name one topic; placeholders are in braces"})
		}
		out = append(out, c)
	}
	return out, bad
}

func unknownCapture(template string) string {
	for rest := template; ; {
		_, after, ok := strings.Cut(rest, "{")
		if !ok {
			return ""
		}
		name, tail, ok := strings.Cut(after, "}")
		if !ok || !slices.Contains(captures, name) {
			return name
		}
		rest = tail
	}
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

// target is the upstream topic of m; an error when it is none.
func (r *route) target(m *message.Message) (string, error) {
	t := m.Topic
	if r.Topic != "" {
		v := &m.Via
		t = strings.NewReplacer("{topic}", m.Topic, "{device}", v.Device, "{module}", v.Module,
			"{sensor}", v.Sensor, "{origin}", v.Origin, "{name}", v.Name).Replace(r.Topic)
	}
	if len(t) == 0 || len(t) > MaxTopic || strings.ContainsAny(t, "+#\x00") {
		return "", fmt.Errorf("%w: its upstream topic would be empty, too long or hold a wildcard", ErrUnsendable)
	}
	return t, nil
}
