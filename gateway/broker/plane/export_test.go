package plane

import "github.com/gatehouse/gatehouse/gateway/message"

// RetainedAt is the retained message of a topic, or nil.
func (p *Plane) RetainedAt(topic string) *message.Message {
	m, _ := p.kept.index.Load().Get(topic)
	return m
}

// Filters is how many filters the index holds.
func (p *Plane) Filters() int {
	n := 0
	for range p.index.Load().All() {
		n++
	}
	return n
}
