package authz

// Roles is how many roles can grant something: the built-in ones and those of
// the snapshot, of the space model and of Azure. A role that was refused, or
// that is assigned and not defined, is not counted.
func (ix *Index) Roles() int {
	n := len(ix.azure.roles)
	for _, s := range ix.roles.slots {
		if s.usable() {
			n++
		}
	}
	return n
}

// Assignments is how many role assignments are in force, of the space model and
// of Azure. One that was refused is not counted; deny assignments are no grants
// and are not counted either.
func (ix *Index) Assignments() int { return ix.grants + len(ix.azure.assignments) }
