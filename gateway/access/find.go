package access

import (
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// find binds a topic name to the row that it belongs to; false if there is none. The name must
// have passed topic.Limits.Name.
func (e *env) find(name string, b *binding) bool {
	first, _, _ := topic.Cut(name)
	if reserved(first) {
		for _, r := range e.topicMap.byRoot[first] {
			for _, p := range r.patterns {
				*b = binding{row: r}
				if b.matchName(p, name) {
					return true
				}
			}
		}
		return false
	}
	for _, r := range e.topicMap.rows {
		*b = binding{row: r}
		if b.matchName(r.patterns[0], name) {
			return true
		}
	}
	return false
}
