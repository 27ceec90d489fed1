package principal

import "github.com/gatehouse/gatehouse/authz/model"

// Concerned is the set of the principals whose rights a change may have altered. Beside the
// question whether a principal is in it, it says where to look, so that what is kept by identity
// need not be searched through.
type Concerned struct {
	// Has reports whether p is in the set. It is called by several goroutines at once.
	Has func(p *Principal) bool
	// Everyone means that any principal may be in the set. If it is false, each one that is in it has
	// one of Identities, or, where Entra is true, an Entra object id.
	Everyone   bool
	Identities []model.Identity
	Entra      bool
}

// Everyone is the set of all principals.
func Everyone() Concerned {
	return Concerned{Has: func(*Principal) bool { return true }, Everyone: true}
}
