package config

import (
	"fmt"

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
	if !sound || u.MQTT.Bridge {
		return
	}
	said := map[int]bool{}
	for _, l := range mapping.Loops(sources, up, down) {
		if said[l.Down] {
			continue // one is enough to change the line
		}
		said[l.Down] = true
		v.bad(fmt.Sprintf("%s.down[%d].filter", at, l.Down),
			fmt.Sprintf("is a loop: the route %s sends up to %s, which %s takes down again", clip(l.Source), clip(l.Sends), clip(down[l.Down].Filter)),
			"give what goes up another prefix (topics.up with to), take a narrower filter down, or write upstream.mqtt.bridge: on if the broker knows bridges, as mosquitto does")
	}
}

// topicMapping reports the mistakes of one mapping and tells whether there was none.
func (v *validator) topicMapping(at, filter string, qos int, check func() []mapping.Fault) bool {
	before := len(v.problems)
	if qos < 0 || qos > 2 {
		v.bad(at+".qos", "must be 0, 1 or 2", "1 is at least once, which the outbox makes durable; 2 is read as 1")
	}
	v.filter(at+".filter", filter)
	if topic.DefaultLimits().Filter(filter) == nil {
		for _, f := range check() {
			v.bad(at+"."+f.Key, f.Message, f.Hint)
		}
	}
	return len(v.problems) == before
}
