package config

import (
	"fmt"
	"slices"

	"github.com/gatehouse/gatehouse/gateway/topic"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
)

// topics checks the mappings both ways, and then whether a message could come
// back by them.
func (v *validator) topics(u Upstream) {
	const at = "upstream.mqtt.topics"
	sound := true
	var up, down []mapping.Rule
	for i, m := range u.MQTT.Topics.Up {
		up = append(up, mapping.Rule{Filter: m.Filter, From: m.From, To: m.To, Topic: m.Topic})
		if m.QoS == 0 { // an earlier release did not read it, and sent with 1
			v.warn(fmt.Sprintf("%s.up[%d].qos", at, i), "is at most once: what is on its way when the connection ends is lost",
				"write 1, or remove it, for at least once, with which an earlier release sent whatever stood here")
		}
		sound = v.topicMapping(fmt.Sprintf("%s.up[%d]", at, i), m.Filter, m.QoS, up[i].CheckUp) && sound
	}
	for i, m := range u.MQTT.Topics.Down {
		down = append(down, mapping.Rule{Filter: m.Filter, From: m.From, To: m.To})
		sound = v.topicMapping(fmt.Sprintf("%s.down[%d]", at, i), m.Filter, m.QoS, down[i].CheckDown) && sound
	}
	var sources []mapping.Source
	for _, r := range u.Routes {
		sound = sound && topic.DefaultLimits().Filter(r.Filter) == nil
		sources = append(sources, mapping.Source{Name: r.Name, Filter: r.Filter})
	}
	if !sound {
		return
	}
	v.unusedMappings(at+".up", up, func(r mapping.Rule) bool {
		return slices.ContainsFunc(sources, func(s mapping.Source) bool { return topic.Overlaps(s.Filter, r.Filter) })
	})
	v.unusedMappings(at+".down", down, func(mapping.Rule) bool { return true })
	if u.MQTT.Bridge {
		return
	}
	said := map[int]bool{}
	for _, l := range mapping.Loops(sources, up, down) {
		if said[l.Down] {
			continue // one is enough to change the line
		}
		said[l.Down] = true
		v.bad(fmt.Sprintf("%s.down[%d].filter", at, l.Down),
			fmt.Sprintf("is a loop: the route %s sends up to %s, which %s takes down again",
				clip(l.Source), clip(l.Sends), clip(down[l.Down].Filter)),
			"give what goes up another prefix (topics.up with to), take a narrower filter down, "+
				"or write upstream.mqtt.bridge: on if the broker knows bridges, as mosquitto does")
	}
}

// unusedMappings warns of mappings that never decide anything.
func (v *validator) unusedMappings(at string, rules []mapping.Rule, reached func(mapping.Rule) bool) {
	for i, r := range rules {
		field := fmt.Sprintf("%s[%d].filter", at, i)
		if j := mapping.Shadowed(rules, i); j >= 0 {
			v.warn(field, fmt.Sprintf("is never used: %s stands before it and takes the same topics", clip(rules[j].Filter)),
				"write the narrower filter first, or remove the line")
		} else if !reached(r) {
			v.warn(field, "is never used: no route sends such topics up", "add a route for them, or remove the line")
		}
	}
}

// topicMapping reports the mistakes of one mapping and tells whether there was none.
func (v *validator) topicMapping(at, filter string, qos int, check func() []mapping.Fault) bool {
	if qos == 2 { // it was accepted before it had a meaning
		v.warn(at+".qos", "is read as 1: the link upstream goes no higher", "write 1, or remove it")
	}
	before := len(v.problems)
	if qos < 0 || qos > 2 {
		v.bad(at+".qos", "must be 0 or 1", "1 is at least once, which the outbox makes durable")
	}
	v.filter(at+".filter", filter)
	if topic.DefaultLimits().Filter(filter) == nil {
		for _, f := range check() {
			v.bad(at+"."+f.Key, f.Message, f.Hint)
		}
	}
	return len(v.problems) == before
}
