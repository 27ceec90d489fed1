package session

import (
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// origins numbers the publishers and shared subscriptions of deliveries whose body is in the
// vault, so that an Entry names both by one number. A number is free again when no Entry
// has it any more.
type origins struct {
	list []origin // list[n-1] is the origin of number n
	free []uint32
	by   map[originKey]uint32
}

type origin struct {
	originKey
	who     *principal.Principal // a principal with this key and node
	entries int
}

type originKey struct {
	key   string // of the publisher
	node  space.ID
	share *Sub
}

// add counts one more delivery of an origin, and returns the origin's number.
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

// row returns a free number.
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
