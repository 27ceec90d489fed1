// Package mapping rewrites topic names between the gateway and an upstream MQTT broker
// (upstream.mqtt.topics). It also finds out whether a list of rules could send a message in a
// loop, so that the configuration is refused before one runs.
//
// Everything here is a pure function over strings. Nothing here knows connections, rights or
// messages.
package mapping

import (
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Rule rewrites the topic names that Filter matches. In a list of rules, the first one that
// applies to a name decides.
type Rule struct {
	// Filter is an MQTT topic filter.
	Filter string
	// From is the prefix that is removed, To the prefix that replaces it. Filter must begin with
	// From. To may hold placeholders.
	From, To string
	// Topic, if not "", is one fixed name for all messages that Filter matches, in place of From
	// and To. It may hold placeholders.
	Topic string
	// QoS is the highest QoS with which a message is sent, as in an MQTT subscription.
	QoS byte
}

// Placeholders are the words that To and Topic may hold in braces. {topic} and {name} may stand
// for several topic levels, each of the others for one level or a part of it.
var Placeholders = []string{"topic", "device", "module", "sensor", "origin", "name"}

// Rewrite returns the new name; false if the rule does not apply to this one. fill returns the
// value of a placeholder; if fill is nil, braces are ordinary text.
//
// The filter site/# also matches the name site. With from: site/ and to: plant7/ that name
// becomes plant7. With an empty To nothing would be left, so the rule does not apply to it.
func (r Rule) Rewrite(name string, fill func(string) string) (string, bool) {
	if !topic.Match(r.Filter, name) {
		return "", false
	}
	if fill == nil {
		fill = func(s string) string { return s }
	}
	if r.Topic != "" {
		return fill(r.Topic), true
	}
	if rest, ok := strings.CutPrefix(name, r.From); ok {
		return fill(r.To) + rest, true
	}
	if r.leaves(name) {
		return "", false
	}
	return strings.TrimSuffix(fill(r.To), "/"), true
}

// leaves reports whether name, which Filter matches, is the one to which the rule does not
// apply: From without its final '/', when To is empty.
func (r Rule) leaves(name string) bool {
	return r.Topic == "" && name+"/" == r.From && strings.TrimSuffix(r.To, "/") == ""
}

// takesAll reports whether the rule applies to every name that the filter matches.
func (r Rule) takesAll(filter string) bool {
	if parent, ok := strings.CutSuffix(r.From, "/"); ok && r.leaves(parent) && topic.Match(filter, parent) {
		return false
	}
	return topic.Contains(r.Filter, filter)
}

// span is a filter that matches at least every name that a rule can make of some names. dollar
// is true if its first level may also stand for a level that begins with '$', which a wildcard
// in an ordinary filter does not.
type span struct {
	filter string
	dollar bool
}

func (s span) overlaps(filter string) bool {
	if s.dollar { // with a common level in front, a '$' is not special any more
		return topic.Overlaps("x/"+filter, "x/"+s.filter)
	}
	return topic.Overlaps(filter, s.filter)
}

// image returns what the rule can make of the names that filter matches. Filter must match all
// of those names, and they must not consist only of the one to which the rule does not apply
// (leaves).
func (r Rule) image(filter string) span {
	before, rest := r.To, strings.TrimPrefix(filter, r.From)
	if filter+"/" == r.From {
		before, rest = strings.TrimSuffix(r.To, "/"), ""
	}
	if r.Topic != "" {
		before, rest = r.Topic, ""
		if prefix, ok := strings.CutSuffix(r.Topic, "{topic}"); ok && (prefix == "" || strings.HasSuffix(prefix, "/")) {
			before, rest = prefix, filter
		}
	}
	if before == "" && rest == filter {
		return span{filter: filter}
	}
	filter = widened(before + rest)
	first, _, _ := topic.Cut(filter)
	return span{filter, first == "+" || first == "#"}
}

// widened turns a template, to which wildcards were appended, into a filter: a level of which a
// wildcard or placeholder is only a part becomes a wildcard.
func widened(template string) string {
	levels := strings.Split(template, "/")
	for i, level := range levels {
		switch {
		case level == "+" || level == "#":
		case strings.Contains(level, "{topic}"), strings.Contains(level, "{name}"), strings.Contains(level, "#"):
			return strings.Join(append(levels[:i:i], "#"), "/") // the placeholder may stand for any number of levels
		case strings.ContainsAny(level, "{+"):
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// Source is a filter whose messages go upstream, with the name of the route that sends them.
type Source struct{ Name, Filter string }

// Loop is a way for a message that was sent upstream to come down again. Up and Down are
// indices of the rules; Up is -1 if no rule renames the message.
type Loop struct {
	Source   string
	Up, Down int
	Sends    string // filter of the messages that go up
}

// Loops returns every combination of a source, its upward rule and a downward rule by which a
// message that was sent up could come down again, judged by the names upstream. It never misses
// a loop. It may report one that no message takes, when only several rules together cover a
// filter.
func Loops(sources []Source, up, down []Rule) []Loop {
	var found []Loop
	for _, s := range sources {
		for i, rule := range up {
			taken, ok := topic.Intersect(s.Filter, rule.Filter)
			if !ok || slices.ContainsFunc(up[:i], func(r Rule) bool { return r.takesAll(taken) }) {
				continue
			}
			if rule.leaves(taken) {
				continue
			}
			sent := rule.image(taken)
			for j, d := range down {
				if sent.overlaps(d.Filter) {
					found = append(found, Loop{s.Name, i, j, sent.filter})
				}
			}
		}
		for j, d := range down {
			own, ok := topic.Intersect(s.Filter, d.Filter)
			if ok && !slices.ContainsFunc(up, func(r Rule) bool { return r.takesAll(own) }) {
				found = append(found, Loop{s.Name, -1, j, own})
			}
		}
	}
	return found
}

// Shadowed returns the index of an earlier rule that applies to everything that rule i could
// apply to, so that rule i is never used; -1 if there is none.
func Shadowed(rules []Rule, i int) int {
	return slices.IndexFunc(rules[:i], func(r Rule) bool { return r.takesAll(rules[i].Filter) })
}

// reserved are the first levels of names that no message from upstream may have
// (docs/spec/semantics.md 3.10).
var reserved = [...]string{"$", "spaces/", "registry/", "deviceupdate/"}

// Reserved reports whether a message from upstream may not have this name.
func Reserved(name string) bool {
	for _, p := range reserved {
		if strings.HasPrefix(name, p) || name+"/" == p {
			return true
		}
	}
	return false
}
