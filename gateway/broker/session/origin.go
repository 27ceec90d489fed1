package session

import (
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// origins is a table of where deliveries came from, so that one that is in the vault
// names its publisher and its shared subscription by a number. A row goes when nothing names
// it any more.
type origins struct {
	list []origin // the number is the index + 1
	free []uint32
	by   map[originKey]uint32
}

type origin struct {
	originKey
	who     *principal.Principal // one with that key and node
	entries int
}

type originKey struct {
	key   string // of the publisher
	node  space.ID
	share *Sub
}

// add counts one more delivery of that origin, and returns its number.
func (o *origins) add(who *principal.Principal, share *Sub) uint32 {
	k := originKey{share: share}
	if who != nil {
		k.key, k.node = who.Key, who.Node
	}
	n, ok := o.by[k]
	if !ok {
		n = o.row()
		if o.by == nil {
			o.by = map[originKey]uint32{}
		}
		o.by[k] = n
		o.list[n-1] = origin{originKey: k, who: who}
	}
	o.list[n-1].entries++
	return n
}

// row is the number of a free row.
func (o *origins) row() uint32 {
	if last := len(o.free) - 1; last >= 0 {
		n := o.free[last]
		o.free = o.free[:last]
		return n
	}
	o.list = append(o.list, origin{})
	return uint32(len(o.list))
}

func (o *origins) drop(n uint32) {
	row := &o.list[n-1]
	if row.entries--; row.entries > 0 {
		return
	}
	delete(o.by, row.originKey)
	if len(o.by) == 0 {
		*o = origins{}
		return
	}
	*row = origin{}
	o.free = append(o.free, n)
}
