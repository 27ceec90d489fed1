package plane_test

import "slices"

// item is one message for one receiver in the model.
type item struct {
	n, publisher, topic int
	size                int
	begun               bool // the client may have received it, under a packet identifier that is in use
}

// naive is the model of one receiver: the rules of docs/spec/semantics.md 6.4 over plain
// slices, in memory, with no thought of cost.
type naive struct {
	limit      int
	connected  bool
	window     int
	queue      []item // in order of acceptance
	held       []item // for suspended subscriptions
	inflight   []item
	allowed    [topics]bool
	subscribed [topics]bool
	suspended  [topics]int // 0: no; 1: it may come back; 2: what waited for it has been purged
	oldest     int         // lost to make capacity for later ones
	newest     int         // that found no capacity
	went       []item      // sent since take was called
}

func newNaive(limit int, subscribed [topics]bool) *naive {
	return &naive{limit: limit, allowed: [topics]bool{true, true, true}, subscribed: subscribed}
}

func (r *naive) waiting() int { return len(r.queue) + len(r.held) + len(r.inflight) }

// publish is rule 2: the receiver loses its own messages, the oldest of the publisher
// that holds most of what was never sent; what was sent stays.
func (r *naive) publish(m item) (taken bool) {
	if !r.subscribed[m.topic] || r.suspended[m.topic] > 0 {
		return false
	}
	if r.waiting() >= r.limit && !r.dropOldest() {
		r.newest++
		return false
	}
	r.queue = append(r.queue, m)
	return true
}

func (r *naive) dropOldest() bool {
	all := append(slices.Clone(r.queue), r.held...)
	slices.SortFunc(all, byNumber)
	all = slices.DeleteFunc(all, func(m item) bool { return m.begun })
	bytes, first := map[int]int{}, map[int]item{}
	for _, m := range all {
		if bytes[m.publisher] == 0 {
			first[m.publisher] = m
		}
		bytes[m.publisher] += m.size
	}
	if len(all) == 0 {
		return false
	}
	most := first[all[0].publisher]
	for _, m := range first {
		if b := bytes[m.publisher] - bytes[most.publisher]; b > 0 || b == 0 && m.n < most.n {
			most = m
		}
	}
	r.oldest++
	without := func(m item) bool { return m.n == most.n }
	r.queue, r.held = slices.DeleteFunc(r.queue, without), slices.DeleteFunc(r.held, without)
	return true
}

func byNumber(a, b item) int { return a.n - b.n }

// pump sends what may be sent. Each message is decided when its turn comes: by the right
// of its receiver and by that of its publisher.
func (r *naive) pump(may func(publisher int) bool) {
	for r.connected && len(r.queue) > 0 && len(r.inflight) < r.window {
		m := r.queue[0]
		r.queue = r.queue[1:]
		switch {
		case r.suspended[m.topic] == 1:
			r.held = append(r.held, m)
		case r.suspended[m.topic] == 2 || !may(m.publisher):
		default:
			r.went = append(r.went, m)
			m.begun = true
			r.inflight = append(r.inflight, m)
		}
	}
}

func (r *naive) detach() {
	r.connected = false
	r.queue = append(r.queue, r.inflight...)
	slices.SortFunc(r.queue, byNumber)
	r.inflight = nil
}

func (r *naive) attach(window int) {
	if r.connected {
		r.detach()
	}
	r.connected, r.window = true, window
}

func (r *naive) ack(i int) { r.inflight = slices.Delete(r.inflight, i, i+1) }

// decide takes and gives back subscriptions by the present rights.
func (r *naive) decide() {
	for t := range topics {
		switch {
		case !r.subscribed[t]:
		case !r.allowed[t] && r.suspended[t] == 0:
			r.suspended[t] = 1
		case r.allowed[t] && r.suspended[t] > 0:
			r.suspended[t] = 0
			r.queue = append(r.queue, r.held...)
			r.held = nil
			slices.SortFunc(r.queue, byNumber)
		}
	}
}

// purge gives up what waits for rights that did not come back.
func (r *naive) purge(may func(publisher int) bool) {
	due := false
	for t := range topics {
		if r.suspended[t] == 1 {
			r.suspended[t], due = 2, true
		}
	}
	if !due {
		return
	}
	gone := func(m item) bool {
		return r.suspended[m.topic] == 2 || r.suspended[m.topic] == 0 && !may(m.publisher)
	}
	r.queue, r.held = slices.DeleteFunc(r.queue, gone), slices.DeleteFunc(r.held, gone)
}

func (r *naive) take() []item {
	w := r.went
	r.went = nil
	return w
}
