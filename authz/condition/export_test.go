package condition

import "github.com/gatehouse/gatehouse/authz/model"

// Has tells whether the pair is in the set; false outside of the universe.
func (s *Set) Has(t model.ResourceType, c model.Category) bool {
	if t >= model.ResourceTypes || c >= model.Categories {
		return false
	}
	n := uint(t)*uint(model.Categories) + uint(c)
	return s[n/64]>>(n%64)&1 != 0
}

// Empty tells whether nothing is in the set.
func (s *Set) Empty() bool { return *s == Set{} }
