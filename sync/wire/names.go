package wire

import "github.com/gatehouse/gatehouse/authz/model"

// AccessNames spells a set of access types in the order in which the published
// roles list their actions: Read, Create, Update, Delete.
func AccessNames(a model.Access) []string {
	names := []string{}
	for _, one := range [4]model.Access{model.Read, model.Create, model.Update, model.Delete} {
		if a&one != 0 {
			names = append(names, one.String())
		}
	}
	return names
}

// ParseAccess reads exactly one access type, in any case.
func ParseAccess(s string) (model.Access, bool) {
	a, err := model.ParseAccess(s)
	return a, err == nil && a.Single()
}
