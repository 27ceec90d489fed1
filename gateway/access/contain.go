package access

import (
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// filterLevels is a topic filter split into its levels. rest reports a trailing '#', which is
// not among the levels.
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

// at returns level i of the filter: its text, or any for a wildcard.
func (f *filterLevels) at(i int) (text string, any bool) {
	if i >= len(f.levels) || f.levels[i] == "+" {
		return "", true
	}
	return f.levels[i], false
}

// fits reports whether the filter can match topic names of n levels.
func (f *filterLevels) fits(n int) bool {
	return n == len(f.levels) || f.rest && n >= len(f.levels)
}

// representatives calls yield for every row and topic length that the filter can match, with
// one binding in which each wildcard stands for all values, until yield returns false. It
// leaves out topics that can never be published, and an operator's row of which an earlier row
// takes all of these topics.
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

// expand calls represent for each topic length of a pattern. index is the row's position in the
// topic map, -1 for a built-in row. A segment of unlimited length (segPath, segRest) is followed up
// to the longest topic that the filter or any row can tell apart from a longer one; beyond it
// the answer repeats.
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

// represent binds a pattern of fixed length to the filter, and yields the binding if such a
// topic is possible and no earlier row takes it.
func (e *env) represent(f *filterLevels, r *row, pattern []seg, index int, yield func(*binding) bool) bool {
	b := binding{row: r}
	path := make([]string, 0, 8)
	met := make([]string, len(pattern)) // the represented topics, written as a filter
	for i, s := range pattern {
		text, any := f.at(i)
		switch {
		case any && s.kind == segLiteral:
			// A wildcard in the first level does not match a level that begins with '$' (OASIS MQTT 5.0,
			// 4.7.2).
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

// shadowed reports whether earlier rows take all of these topics. They have one length, and
// then this is the case exactly when a single earlier row takes them all.
func (e *env) shadowed(met []string, index int) bool {
	one := strings.Join(met, "/")
	for _, r := range e.topicMap.rows[:index] {
		if topic.Contains(r.rule.filter, one) {
			return true
		}
	}
	return false
}

// subscribe decides a filter and returns the row that decided. If filtered, a filter with
// wildcards is accepted although the principal may not read all that it matches, because each
// delivery is decided; a filter without wildcards never is.
func (d *decider) subscribe(filter string, shared, filtered bool) (outcome, *row) {
	out, at := refuse(NoTopic, "no topic that can ever be published matches"), (*row)(nil)
	wide := !topic.IsExact(filter)
	watched, watchedAt := outcome{}, (*row)(nil)
	d.representatives(filter, func(b *binding) bool {
		if b.row.kind == kindModuleTelemetry && d.p.Kind == principal.Module {
			return true // never delivered to modules, so it cannot make a filter unreadable
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
			case got.reason == NeverRead: // nothing would ever be delivered
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
