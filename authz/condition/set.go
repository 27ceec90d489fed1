// Package condition compiles the condition language of role definitions
// (docs/spec/management-api.md 2) into bit sets. The universe of a
// condition is finite (resource type x category), so that a compiled
// condition is not a program but the set of resources for which it holds:
// evaluating it is testing one bit, and equal conditions are equal values.
//
// Everything that is not attested in the language is an error, and an error
// means that the role grants nothing. Values are immutable; all functions are
// safe for concurrent use and take time linear in the text.
package condition

import "github.com/gatehouse/gatehouse/authz/model"

const (
	universe = int(model.ResourceTypes) * int(model.Categories)
	words    = (universe + 63) / 64
)

// Set is a set of (resource type, category) pairs. The zero Set is empty.
type Set [words]uint64

func (s *Set) add(t model.ResourceType, c model.Category) {
	n := uint(t)*uint(model.Categories) + uint(c)
	s[n/64] |= 1 << (n % 64)
}

func (s *Set) remove(t model.ResourceType, c model.Category) {
	n := uint(t)*uint(model.Categories) + uint(c)
	s[n/64] &^= 1 << (n % 64)
}

func (s Set) union(o Set) Set {
	for i := range s {
		s[i] |= o[i]
	}
	return s
}

func (s Set) intersect(o Set) Set {
	for i := range s {
		s[i] &= o[i]
	}
	return s
}

func (s Set) complement() Set {
	all := everything()
	for i := range s {
		s[i] = all[i] &^ s[i]
	}
	return s
}

// where is the set of the pairs for which holds is true.
func where(holds func(model.ResourceType, model.Category) bool) Set {
	var s Set
	for t := model.NoResource + 1; t < model.ResourceTypes; t++ {
		for c := model.NoCategory; c < model.Categories; c++ {
			if holds(t, c) {
				s.add(t, c)
			}
		}
	}
	return s
}

// everything is the set that an absent condition stands for. NoResource is in
// no set: nothing can be asked about it.
func everything() Set {
	return where(func(model.ResourceType, model.Category) bool { return true })
}
