package authz

import (
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Replace compiles a complete snapshot that takes the place of ix, after a full
// synchronisation. The keys name the same identities that a change set from one
// to the other would name. The rights versions of the two indexes compare: an
// identity with the same rights keeps its version. The cost is that of Compile
// and of one look at every identity.
func (ix *Index) Replace(s model.Snapshot) (*Index, []Key, []Problem) {
	next := compile(ix.hash, s)
	d := delta{ix: next, touched: map[model.Identity]struct{}{}}
	compare := func(a, b *Index) {
		a.each(func(c *cell) {
			who := a.identity(c)
			if o := b.find(&who); o == nil || o.sum != c.sum {
				d.touched[who] = struct{}{}
			}
		})
	}
	compare(ix, next)
	compare(next, ix)
	e := azureEdit{azure: &next.azure, hash: &next.hash, touched: map[space.ID]bool{}}
	for _, z := range []*azure{&ix.azure, &next.azure} {
		for who := range z.held {
			e.touched[who] = true
		}
		for _, deny := range z.denies {
			e.touchDeny(deny)
		}
	}
	return next, append(d.keys(ix), e.keys(&ix.azure)...), next.Problems()
}
