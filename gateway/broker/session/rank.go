package session

import (
	"cmp"
	"container/heap"
	"sync"
	"sync/atomic"
)

// ranking orders the principals by how many bytes they hold, so that the one that holds
// most is found at once when TotalQueueBytes are used up. It is kept from then on until
// less than half of them are used: every delivery costs a little then, and nothing
// otherwise.
type ranking struct {
	on atomic.Bool // changed with mu held

	mu  sync.Mutex // guards all, and rank and ranked of each holder; taken after Store.mu and Session.mu
	all holders    // empty while on is false
}

// holders is a heap whose first element is the principal that holds most, and of several
// the one whose key comes first.
type holders []*holder

func (h holders) Len() int           { return len(h) }
func (h holders) Less(i, j int) bool { return h[i].before(h[j]) }
func (h holders) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].rank, h[j].rank = i+1, j+1
}

func (h *holders) Push(x any) {
	n := x.(*holder)
	*h = append(*h, n)
	n.rank = len(*h)
}

func (h *holders) Pop() any {
	last := len(*h) - 1
	n := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	n.rank = 0
	return n
}

func (h *holder) before(o *holder) bool {
	return cmp.Or(cmp.Compare(o.ranked, h.ranked), cmp.Compare(h.key, o.key)) < 0
}

// add changes how many bytes a principal holds, and returns the new number.
func (st *Store) add(h *holder, size int64) int64 {
	n := h.bytes.Add(size)
	if st.rank.on.Load() {
		st.rank.moved(h)
	}
	return n
}

// moved puts h where its bytes now belong. They are read with mu held, so that of several
// calls at once the last one to get mu reads the latest value.
func (r *ranking) moved(h *holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.rank == 0 {
		return
	}
	h.ranked = h.bytes.Load()
	heap.Fix(&r.all, h.rank-1)
}

// enter ranks a principal that has its first session; Store.mu is held.
func (r *ranking) enter(h *holder) {
	if !r.on.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.rank == 0 && r.on.Load() {
		h.ranked = h.bytes.Load()
		heap.Push(&r.all, h)
	}
}

// leave removes a principal whose last session has left the store; Store.mu is held.
func (r *ranking) leave(h *holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if h.rank > 0 {
		heap.Remove(&r.all, h.rank-1)
	}
}

// begin ranks all principals, if they are not ranked; Store.mu is held, so that none
// enters or leaves meanwhile.
func (r *ranking) begin(owned map[string]*holder) {
	if r.on.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on.Store(true) // before the values are read: whoever changes one later comes to moved
	for _, h := range owned {
		h.ranked = h.bytes.Load()
		r.all = append(r.all, h)
		h.rank = len(r.all)
	}
	heap.Init(&r.all)
}

// end forgets the order.
func (r *ranking) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on.Store(false)
	for _, h := range r.all {
		h.rank = 0
	}
	r.all = nil
}

// first lists at most n of the principals that hold more than bytes, the one that holds
// most first. It walks the heap from its top, and looks at two children of each that it
// lists, so that its cost does not depend on how many principals there are.
func (r *ranking) first(n int, bytes int64) (list []*holder) {
	r.mu.Lock()
	defer r.mu.Unlock()
	next := frontier{all: r.all}
	next.open(0)
	for len(next.at) > 0 && len(list) < n {
		i := heap.Pop(&next).(int)
		if r.all[i].ranked <= bytes {
			break
		}
		list = append(list, r.all[i])
		next.open(2*i + 1)
		next.open(2*i + 2)
	}
	return list
}

// frontier is a heap of indexes into all: of the principals that first has not listed
// but whose parent in all it has. The next one to list is its first element.
type frontier struct {
	all holders
	at  []int
}

func (f *frontier) open(i int) {
	if i < len(f.all) {
		heap.Push(f, i)
	}
}

func (f *frontier) Len() int           { return len(f.at) }
func (f *frontier) Less(i, j int) bool { return f.all[f.at[i]].before(f.all[f.at[j]]) }
func (f *frontier) Swap(i, j int)      { f.at[i], f.at[j] = f.at[j], f.at[i] }
func (f *frontier) Push(x any)         { f.at = append(f.at, x.(int)) }
func (f *frontier) Pop() any {
	last := len(f.at) - 1
	i := f.at[last]
	f.at = f.at[:last]
	return i
}
