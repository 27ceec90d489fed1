package access

import (
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// filterLevels is a topic filter taken apart: rest is its trailing '#'.
type filterLevels struct {
	levels []string
	rest   bool
}

func split(filter string) filterLevels {
	levels := strings.Split(filter, "/")
	if last := len(levels) - 1; levels[last] == "#" {
		return filterLevels{levels[:last], true}
	}
	return filterLevels{levels, false}
}

// at is the filter's word at level i: a literal, or any.
func (f *filterLevels) at(i int) (text string, any bool) {
	if i >= len(f.levels) || f.levels[i] == "+" {
		return "", true
	}
	return f.levels[i], false
}

// fits tells whether names of n levels can match.
func (f *filterLevels) fits(n int) bool {
	return n == len(f.levels) || f.rest && n >= len(f.levels)
}

// representatives yields, for every row and length of topic that the filter
// can match, one binding in which every wildcard stands for all values, until
// yield says stop. Only possible topics are represented, and only rows that
// are reached: an operator's row shadowed by an earlier one for all of
// these topics is left out.
func (e *env) representatives(filter string, yield func(*binding) bool) {
	f := split(filter)
	for _, r := range e.topicMap.builtin {
		if !r.possible {
			continue
		}
		for _, p := range r.patterns {
			if !e.expand(&f, r, p, -1, yield) {
				return
			}
		}
	}
	for i, r := range e.topicMap.rows {
		if r.possible && !e.expand(&f, r, r.patterns[0], i, yield) {
			return
		}
	}
}

// expand walks over the lengths of a pattern. index is the row's place in the
// topic map, -1 for a built-in row. A stretch of levels without bound is followed
// beyond everything that the filter or a row can tell apart: longer topics
// only repeat the answer.
func (e *env) expand(f *filterLevels, r *row, pattern []seg, index int, yield func(*binding) bool) bool {
	fixed, stretch := len(pattern), -1
	for i, s := range pattern {
		if s.kind == segPath || s.kind == segRest {
			fixed, stretch = len(pattern)-1, i
		}
	}
	if stretch < 0 {
		return !f.fits(fixed) || e.represent(f, r, pattern, index, yield)
	}
	longest := max(len(f.levels), e.topicMap.longest) + len(pattern)
	for n := max(fixed, 1); n <= longest && n <= e.set.limits.Levels; n++ {
		if !f.fits(n) {
			continue
		}
		long := slices.Clone(pattern[:stretch])
		for range n - fixed {
			if pattern[stretch].kind == segPath {
				long = append(long, seg{kind: segPath})
			} else {
				long = append(long, seg{kind: segAny})
			}
		}
		if !e.represent(f, r, append(long, pattern[stretch+1:]...), index, yield) {
			return false
		}
	}
	return true
}

// represent binds one pattern of fixed length to the filter and yields it if
// such a topic is possible and reaches the row.
func (e *env) represent(f *filterLevels, r *row, pattern []seg, index int, yield func(*binding) bool) bool {
	b := binding{row: r}
	path := make([]string, 0, 8)
	met := make([]string, len(pattern)) // the topics represented, as a filter
	for i, s := range pattern {
		text, any := f.at(i)
		switch {
		case any && s.kind == segLiteral:
			// A wildcard in front never stands for a level with '$' (4.7.2).
			if i == 0 && strings.HasPrefix(s.text, "$") {
				return true
			}
			met[i] = s.text
		case any:
			met[i] = "+"
		default:
			met[i] = text
		}
		if s.kind == segPath {
			path = append(path, met[i])
		}
		if !b.bind(s, text, any) {
			return true
		}
	}
	if index >= 0 && (reserved(met[0]) || e.shadowed(met, index)) {
		return true
	}
	if r.kind == kindMirror && !b.bindPath(path) || !b.valid() {
		return true
	}
	return yield(&b)
}

// shadowed tells whether an earlier row takes every one of these topics. For
// topics of one length that is so exactly if a single row takes them all.
func (e *env) shadowed(met []string, index int) bool {
	one := strings.Join(met, "/")
	for _, r := range e.topicMap.rows[:index] {
		if topic.Contains(r.rule.filter, one) {
			return true
		}
	}
	return false
}

// subscribe decides a filter. filtered accepts a wide one of which every
// delivery is decided; an exact filter is not wide.
func (d *decider) subscribe(filter string, shared, filtered bool) (outcome, *row) {
	out, at := refuse(NoTopic, "no topic that can ever be published matches"), (*row)(nil)
	wide := !topic.IsExact(filter)
	watched, watchedAt := outcome{}, (*row)(nil)
	d.representatives(filter, func(b *binding) bool {
		if b.row.kind == kindModuleTelemetry && d.p.Kind == principal.Module {
			return true // never delivered to modules, whatever they ask for
		}
		if shared && b.row.private {
			out, at = refuse(SharedPrivate, "row "+b.row.name), b.row
			return false
		}
		d.trace.row(b)
		got := d.receive(b)
		switch {
		case got.ok:
			if !out.ok {
				out, at = got, b.row
			}
			return true
		case filtered && wide:
			switch {
			case out.ok:
			case got.reason == NeverRead: // waiting for what is never delivered is no subscription
				out, at = got, b.row
			default:
				out, at = outcome{ok: true, reason: FilteredLater}, b.row
			}
			return true
		case b.row.reportOnly:
			watched, watchedAt = got, b.row
			if !out.ok {
				out, at = outcome{ok: true, reason: Granted}, b.row
			}
			return true
		}
		out, at = got, b.row
		out.ok = false
		return false
	})
	if out.ok && watchedAt != nil {
		return watched, watchedAt
	}
	return out, at
}
