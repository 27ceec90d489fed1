// Package mapping rewrites topic names between the gateway and an MQTT broker
// upstream (upstream.mqtt.topics), and says what a rewriting can lead to, so
// that a loop is found before a message runs through it.
//
// Everything here is a pure function over strings. Nothing knows a connection,
// a right or a message.
package mapping

import (
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Rule rewrites the names that Filter matches. In a list of rules the first
// one that takes a name decides.
type Rule struct {
	// Filter is an MQTT topic filter.
	Filter string
	// From is a prefix that is taken away, To the prefix that is put in its
	// place. Filter must begin with From. To may hold placeholders.
	From, To string
	// Topic is one fixed name for everything that Filter matches, in place of
	// From and To; it may hold placeholders. "": unused.
	Topic string
	// QoS is the most that a message is sent with, as in an MQTT subscription.
	QoS byte
}

// Placeholders are the words in braces that To and Topic may hold. {topic} and
// {name} may stand for several levels, each of the others for a part of one.
var Placeholders = []string{"topic", "device", "module", "sensor", "origin", "name"}

// Rewrite gives the new name; false: the rule does not take this one. fill
// replaces placeholders; nil: braces are text like any other.
//
// site/# matches also the name site. With from: site/ and to: plant7/ that
// becomes plant7; with an empty To nothing would be left of it, so the rule
// does not take it.
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

// leaves tells whether name, which Filter matches, is the one that the rule
// does not take: it lacks the '/' at the end of From, and without From nothing
// would be left to publish under.
func (r Rule) leaves(name string) bool {
	return r.Topic == "" && name+"/" == r.From && strings.TrimSuffix(r.To, "/") == ""
}

// takesAll tells whether the rule takes every name that the filter matches.
func (r Rule) takesAll(filter string) bool {
	if parent, ok := strings.CutSuffix(r.From, "/"); ok && r.leaves(parent) && topic.Match(filter, parent) {
		return false
	}
	return topic.Contains(r.Filter, filter)
}

// span is a filter that matches at least everything that a rule makes of some
// names. dollar: its first level may stand for names that begin with '$' too,
// which a wildcard of an ordinary filter never does.
type span struct {
	filter string
	dollar bool
}

func (s span) overlaps(filter string) bool {
	if s.dollar { // below a common first level no level is special
		return topic.Overlaps("x/"+filter, "x/"+s.filter)
	}
	return topic.Overlaps(filter, s.filter)
}

// image is what the rule makes of the names that filter matches, which must
// all be names that Filter matches, and not just the one that it leaves.
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

// widened turns a template that wildcards were joined to into a filter: a
// level in which a wildcard or a placeholder is only a part may be anything.
func widened(template string) string {
	levels := strings.Split(template, "/")
	for i, level := range levels {
		switch {
		case level == "+" || level == "#":
		case strings.Contains(level, "{topic}"), strings.Contains(level, "{name}"), strings.Contains(level, "#"):
			return strings.Join(append(levels[:i:i], "#"), "/") // it may be any number of levels
		case strings.ContainsAny(level, "{+"):
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

// Source is a filter by which messages go upstream, with the name of its route.
type Source struct{ Name, Filter string }

// Loop is a way on which what goes up comes down again. Up and Down are the
// indices of the rules; Up is -1 for messages that no rule renames.
type Loop struct {
	Source   string
	Up, Down int
	Sends    string // what goes up matches this filter
}

// Loops finds every pair of a source with its upward rule and a downward rule
// by which a message that was sent up could be taken down again. It is judged
// by the names upstream. It may report a way that no message ever takes, where
// only several rules together cover a filter; it misses none.
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

// Shadowed is the index of an earlier rule that takes everything that rule i
// could take, so that rule i never decides; -1: none.
func Shadowed(rules []Rule, i int) int {
	return slices.IndexFunc(rules[:i], func(r Rule) bool { return r.takesAll(rules[i].Filter) })
}

// reserved are the names that nothing from upstream may carry (docs/spec/semantics.md 3.10).
var reserved = [...]string{"$", "spaces/", "registry/", "deviceupdate/"}

// Reserved tells whether nothing that comes from upstream may have this name.
func Reserved(name string) bool {
	for _, p := range reserved {
		if strings.HasPrefix(name, p) || name+"/" == p {
			return true
		}
	}
	return false
}
