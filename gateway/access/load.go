package access

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// maxRows bounds an operator's topic map, because each SUBSCRIBE is decided against every row.
const maxRows = 256

// topicMapText is the topic map file as it is decoded.
type topicMapText struct {
	ReportOnly []string  `yaml:"report_only"`
	Rows       []rowText `yaml:"rows"`
}

type rowText struct {
	Name       string    `yaml:"name"`
	Topic      string    `yaml:"topic"`
	Scope      string    `yaml:"scope"`
	Publish    *needText `yaml:"publish"`
	Subscribe  *needText `yaml:"subscribe"`
	OnBehalf   bool      `yaml:"on_behalf"`
	ReportOnly bool      `yaml:"report_only"`
}

type needText struct {
	AnyOf []string `yaml:"anyOf"`
	AllOf []string `yaml:"allOf"`
}

// LoadTopicMap reads a topic map file. It reports all errors at once. If there is any, it
// returns no topic map, and the caller keeps the one in force.
func LoadTopicMap(file string) (*TopicMap, []config.Problem) {
	var text topicMapText
	src, problems := config.DecodeSource(file, &text)
	l := loader{src: src, problems: problems}
	rows := l.rows(text.Rows)
	reportOnly := l.reportOnly(text.ReportOnly)
	if len(l.problems) > 0 {
		slices.SortStableFunc(l.problems, func(a, b config.Problem) int { return a.Line - b.Line })
		return nil, l.problems
	}
	return newTopicMap(rows, reportOnly), nil
}

type loader struct {
	src      *config.Source
	problems []config.Problem
}

func (l *loader) report(field, message, hint string) {
	l.problems = append(l.problems, l.src.Problem(field, message, hint))
}

// missing reports that a key is absent, unless the key is present and its value has been
// reported as unreadable.
func (l *loader) missing(field, key, message, hint string) {
	for _, p := range l.problems {
		if strings.HasPrefix(p.Field, field+key) {
			return
		}
	}
	l.report(field, message, hint)
}

func (l *loader) reportOnly(names []string) map[string]bool {
	known, out := BuiltinRows(), map[string]bool{}
	for i, name := range names {
		field := fmt.Sprintf("report_only[%d]", i)
		switch {
		case !slices.Contains(known, name):
			l.report(field, fmt.Sprintf("there is no built-in row %q", name), "one of "+strings.Join(known, ", "))
		case out[name]:
			l.report(field, name+" is listed twice", "keep one of the two")
		}
		out[name] = true
	}
	return out
}

func (l *loader) rows(texts []rowText) []*row {
	if len(texts) > maxRows {
		l.report("rows", fmt.Sprintf("%d rows, at most %d", len(texts), maxRows), "captures and a final # make one row of many")
		return nil
	}
	var rows []*row
	names := map[string]bool{}
	for _, n := range BuiltinRows() {
		names[n] = true
	}
	for i, t := range texts {
		field := fmt.Sprintf("rows[%d]", i)
		if t.Name == "" {
			t.Name = fmt.Sprintf("row-%d", i+1)
		}
		if names[t.Name] {
			l.report(field+".name", fmt.Sprintf("the name %q is taken", t.Name), "names of rows are unique, the built-in ones included")
		}
		names[t.Name] = true
		if r := l.row(t, field); r != nil {
			for _, earlier := range rows {
				if topic.Contains(earlier.rule.filter, r.rule.filter) {
					l.report(field+".topic", fmt.Sprintf("is never reached: row %q (line %d) takes all of its topics", earlier.name, earlier.rule.line),
						"move the narrower row before the wider one")
					break
				}
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func (l *loader) row(t rowText, field string) *row {
	before := len(l.problems)
	if t.Topic == "" {
		l.missing(field, ".topic", "has no topic", "topic: building/{space}/alarm, for example")
	} else if why, hint := checkPattern(t.Topic); why != "" {
		l.report(field+".topic", why, hint)
	}
	if t.Publish == nil && t.Subscribe == nil {
		l.report(field, "says neither what publish nor what subscribe needs",
			"a row grants nothing by being there: name the operations, or remove it")
	}
	u := &rule{
		publish:   l.need(t.Publish, field+".publish"),
		subscribe: l.need(t.Subscribe, field+".subscribe"),
		onBehalf:  t.OnBehalf,
		filter:    plainFilter(t.Topic),
		line:      l.src.Line(field),
	}
	pattern := compile(t.Topic, operatorSegs)
	captures := hasCapture(pattern)
	switch {
	case captures && t.Scope != "":
		l.report(field+".scope", "has a scope beside captures", "the captures say where; remove one or the other")
	case !captures && t.Scope == "" && t.Topic != "":
		l.report(field, "has neither captures nor a scope", "say where the operations must be held: scope: / or scope: /{guid}/{guid}")
	case t.Scope != "":
		p, err := space.ParsePath(t.Scope)
		if err != nil {
			l.report(field+".scope", err.Error(), "a path is / or /{guid}/{guid}…")
		}
		u.scope = p
	}
	if t.OnBehalf && !slices.ContainsFunc(pattern, func(s seg) bool { return s.kind == segDevice || s.kind == segSensor }) {
		l.report(field+".on_behalf", "speaks on behalf of nothing", "only a row with {device} or {sensor} has somebody to act for")
	}
	if len(l.problems) > before {
		return nil
	}
	return &row{
		kind:       kindOperator,
		name:       t.Name,
		patterns:   [][]seg{pattern},
		possible:   !u.publish.never(),
		reportOnly: t.ReportOnly,
		rule:       u,
	}
}

func (l *loader) need(t *needText, field string) need {
	if t == nil {
		return need{}
	}
	texts, n, list := t.AnyOf, need{}, field+".anyOf"
	switch {
	case len(t.AnyOf) > 0 && len(t.AllOf) > 0:
		l.report(field, "has anyOf and allOf", "keep one of the two")
		return n
	case len(t.AllOf) > 0:
		texts, n.all, list = t.AllOf, true, field+".allOf"
	case len(t.AnyOf) == 0:
		l.missing(field, "", "names no operation", "anyOf: [Read Sensor], for example; to forbid it altogether leave the whole key out")
	}
	for i, s := range texts {
		op, err := model.ParseOperation(s)
		if err != nil {
			l.report(fmt.Sprintf("%s[%d]", list, i), err.Error(), "an operation is an access type and a resource type: Update Device")
			continue
		}
		n.ops = append(n.ops, op)
	}
	return n
}
