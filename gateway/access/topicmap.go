package access

import (
	"strings"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

// TopicMap is one topic map: the built-in rows, some of them perhaps in
// report-only mode, and the operator's. Immutable; Control.SetTopicMap replaces it.
type TopicMap struct {
	connect *row
	builtin []*row
	byRoot  map[string][]*row // built-in rows by the first level of their topics
	rows    []*row            // the operator's, in order
	longest int               // levels of the operator's longest topic
}

// NewTopicMap is the map without an operator's rows, all of it enforced.
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

// BuiltinRows are the names of the built-in rows, in order: what a map may
// list under report_only.
func BuiltinRows() []string {
	var names []string
	for _, r := range builtins() {
		names = append(names, r.name)
	}
	return names
}

// Rows are the names of the operator's rows, in order.
func (t *TopicMap) Rows() []string {
	names := make([]string, len(t.rows))
	for i, r := range t.rows {
		names[i] = r.name
	}
	return names
}

// operatorSegs are the captures of an operator's row; '+' is one level that
// nothing is asked about.
var operatorSegs = map[string]segKind{
	"{device}": segDevice, "{sensor}": segSensor, "{space}": segSpace, "+": segAny, "#": segRest,
}

// checkPattern is what is wrong with an operator's topic, and how to mend it.
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

// plainFilter is the pattern with each capture as '+'.
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
