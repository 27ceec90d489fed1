package access

import (
	"strings"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

// TopicMap is a topic map: the built-in rows, each enforced or in report-only mode, and the
// operator's rows. Immutable; Control.SetTopicMap replaces it.
type TopicMap struct {
	connect *row
	builtin []*row
	byRoot  map[string][]*row // built-in rows by the first level of their topics
	rows    []*row            // the operator's, in order; the first match decides
	longest int               // number of levels in the operator's longest topic
}

// NewTopicMap returns the topic map without operator's rows, in which every built-in row is
// enforced.
func NewTopicMap() *TopicMap { return newTopicMap(nil, nil) }

func newTopicMap(rows []*row, reportOnly map[string]bool) *TopicMap {
	t := &TopicMap{builtin: builtins(), byRoot: map[string][]*row{}, rows: rows}
	for _, r := range t.builtin {
		r.reportOnly = reportOnly[r.name]
		if r.kind == kindConnect {
			t.connect = r
			continue
		}
		root := r.patterns[0][0].text
		t.byRoot[root] = append(t.byRoot[root], r)
	}
	for _, r := range rows {
		t.longest = max(t.longest, len(r.patterns[0]))
	}
	return t
}

// BuiltinRows returns the names of the built-in rows, in order. These are the names that a
// topic map file may list under report_only.
func BuiltinRows() []string {
	var names []string
	for _, r := range builtins() {
		names = append(names, r.name)
	}
	return names
}

// Rows returns the names of the operator's rows, in order.
func (t *TopicMap) Rows() []string {
	names := make([]string, len(t.rows))
	for i, r := range t.rows {
		names[i] = r.name
	}
	return names
}

// operatorSegs are the captures of an operator's row. '+' matches one level that has no effect
// on the decision.
var operatorSegs = map[string]segKind{
	"{device}": segDevice, "{sensor}": segSensor, "{space}": segSpace, "+": segAny, "#": segRest,
}

// checkPattern returns what is wrong with the topic of an operator's row, and how to fix it; ""
// if nothing is.
func checkPattern(pattern string) (why, hint string) {
	filter := plainFilter(pattern)
	if err := topic.DefaultLimits().Filter(filter); err != nil {
		return err.Error(), "levels are text, {device}, {sensor}, {space}, + or a final #"
	}
	first, _, _ := topic.Cut(pattern)
	if reserved(first) {
		return "topics below " + first + " belong to the built-in rows", "devices/, spaces/, deviceupdate/, registry/ and $… are reserved"
	}
	seen := map[string]bool{}
	for _, level := range strings.Split(pattern, "/") {
		_, capture := operatorSegs[level]
		switch {
		case capture && strings.HasPrefix(level, "{"):
			if seen[level] {
				return level + " twice", "one topic names one " + strings.Trim(level, "{}")
			}
			seen[level] = true
		case strings.ContainsAny(level, "{}"):
			return "no capture " + level, "captures are {device}, {sensor} and {space}, each a whole level"
		}
	}
	return "", ""
}

// plainFilter returns the pattern as a topic filter, with each capture replaced by '+'.
func plainFilter(pattern string) string {
	levels := strings.Split(pattern, "/")
	for i, l := range levels {
		if _, ok := operatorSegs[l]; ok && l != "#" {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

func hasCapture(pattern []seg) bool {
	for _, s := range pattern {
		if s.kind == segDevice || s.kind == segSensor || s.kind == segSpace {
			return true
		}
	}
	return false
}
