package plane

// Filters is how many filters the index holds.
func (p *Plane) Filters() int {
	n := 0
	for range p.index.Load().All() {
		n++
	}
	return n
}
