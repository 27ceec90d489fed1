package update

import "maps"

// phases are those of the deployments that the state still tells of: what
// waits, what was shown last, and what was refused since. A deployment that is
// held is in Pending and also in Refusal, as the reason why nothing newer is
// shown; it counts once. A cancel that was shown is no deployment of its own: it
// is how the current one ends.
func (s State) phases() []Phase {
	var all []Phase
	for _, d := range []*Deployment{s.Pending, s.Current, s.Declined} {
		if d != nil {
			all = append(all, d.Phase)
		}
	}
	if r, p := s.Refusal, s.Pending; r != nil && (p == nil || r.Phase != p.Phase || r.Version != p.Version || r.ID != p.ID) {
		all = append(all, r.Phase)
	}
	return all
}

// Counts is how many deployments there are in each phase, over all devices;
// a phase without any is left out. Load restores it from the journal. It never
// waits for a device whose journal record is being written.
func (g *Guard) Counts() map[Phase]int {
	g.countMu.Lock()
	defer g.countMu.Unlock()
	return maps.Clone(g.counts)
}

// count replaces what a device contributes to Counts. d.mu is held.
func (g *Guard) count(d *deviceState) {
	g.countMu.Lock()
	defer g.countMu.Unlock()
	for _, p := range d.counted {
		if g.counts[p]--; g.counts[p] == 0 {
			delete(g.counts, p)
		}
	}
	d.counted = d.state.phases()
	for _, p := range d.counted {
		g.counts[p]++
	}
}
