package inspect

import (
	"maps"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// Status returns the state of the gateway in one document.
func (n *Inspector) Status() admin.Status {
	stats, box := n.o.Broker.Stats(), n.outboxStats()
	s := admin.Status{
		Build:         n.o.Build,
		Site:          n.o.Instance.Site.String(),
		SiteName:      n.siteName(),
		Hub:           n.o.Instance.Hub.Host,
		StartedAt:     n.o.Started,
		UptimeSeconds: time.Since(n.o.Started).Seconds(),
		Health:        n.Health(),
		Cache:         n.cacheState(),
		Sessions: admin.SessionCounts{
			Connected:     stats.Connections,
			Total:         stats.Sessions,
			Subscriptions: stats.Subscriptions,
			TakeOvers:     stats.TakeOvers,
			Contested:     stats.Contested,
			Waiting:       stats.Waiting,
			ByKind:        map[string]int{},
		},
		Messages: admin.MessageCounts{
			Accepted:       accepted(&stats),
			ForUpstream:    box.Restored + box.Accepted,
			Forwarded:      box.Acked,
			NotForwarded:   notForwarded(&box),
			DeniedByReason: n.o.Denied(),
		},
		Outbox:      n.outboxState(&box),
		Upstream:    n.upstreamState(),
		Sync:        n.syncState(),
		Deployments: map[string]int64{},
		Listeners:   n.o.Listeners(),
	}
	for phase, k := range n.o.Deployments() {
		s.Deployments[string(phase)] = int64(k)
	}
	for _, k := range dropped(&stats, &box) {
		s.Messages.Dropped += k
	}
	for _, k := range s.Messages.DeniedByReason {
		s.Messages.Denied += k // for every kind of operation, not for publishes alone
	}
	at := map[string]int{}
	for _, info := range n.o.Broker.Sessions() {
		if info.Connected && info.Principal != nil {
			s.Sessions.ByKind[info.Principal.Kind.String()]++
			at[info.Listener]++
		}
	}
	for i := range s.Listeners {
		s.Listeners[i].Connections = at[s.Listeners[i].Name]
	}
	return s
}

func (n *Inspector) cacheState() admin.CacheState {
	counts, ix := n.count(), n.index()
	s := admin.CacheState{
		Stage:       n.o.Aging.Stage().String(),
		AgeSeconds:  n.age(),
		Roles:       ix.Roles(),
		Assignments: ix.Assignments(),
		Devices:     counts.devices,
		Sensors:     counts.sensors,
		Spaces:      counts.spaces,
	}
	if n.o.Policy.Registry() != nil {
		s.Version = ix.Version().String()
	}
	return s
}

// age is the time since the cloud last confirmed the policy, in seconds.
func (n *Inspector) age() float64 { return max(0, n.o.Aging.Age().Seconds()) }

// Health is the overall state and its reasons.
func (n *Inspector) Health() admin.Health {
	r := n.o.Health()
	h := admin.Health{State: r.State, Since: r.Since, Warnings: []admin.Warning{}}
	for _, w := range r.Warnings {
		h.Warnings = append(h.Warnings, admin.Warning{
			Name:     w.Name,
			Severity: w.Severity.String(),
			Text:     w.Text,
			Next:     w.Next,
			Since:    w.Since,
		})
	}
	return h
}

type recordCounts struct{ devices, sensors, spaces int }

// count counts the records of the registry. It does so once for each version, because it has
// to walk all of them.
func (n *Inspector) count() recordCounts {
	topo := n.topology()
	n.countMu.Lock()
	defer n.countMu.Unlock()
	if n.countsOf != topo {
		data := topo.Data()
		n.counts, n.countsOf = recordCounts{len(data.Devices), len(data.Sensors), len(data.Spaces)}, topo
	}
	return n.counts
}

func (n *Inspector) upstreamState() admin.LinkState {
	if n.o.Uplink == nil {
		return admin.LinkState{State: "none"}
	}
	state, detail, target, since := n.o.Uplink.Status()
	return admin.LinkState{State: state, Detail: detail, Target: target, Since: since}
}

// outboxStats returns the outbox's counters, zero without an outbox. A report reads them once,
// so that its numbers add up.
func (n *Inspector) outboxStats() upstream.Stats {
	if n.o.Outbox == nil {
		return upstream.Stats{}
	}
	return n.o.Outbox.Stats()
}

func (n *Inspector) outboxState(s *upstream.Stats) admin.OutboxState {
	state := admin.OutboxState{
		Messages: int64(s.Waiting),
		Bytes:    s.Bytes,
		Parked:   int64(s.Parked),
		Withheld: int64(s.Withheld),
		Paused:   s.Paused,
	}
	if n.o.Outbox != nil {
		state.LimitBytes = n.o.OutboxLimit
	}
	if !s.Oldest.IsZero() {
		state.OldestSeconds = max(0, time.Since(s.Oldest).Seconds())
	}
	return state
}

// accepted counts the publishes that were accepted, with or without a route upstream.
func accepted(s *broker.Stats) uint64 { return s.Received - min(s.Received, s.Refused) }

// notForwarded counts, by reason, the messages that were accepted for upstream and have left
// the outbox without arriving there: they were dropped or parked.
func notForwarded(box *upstream.Stats) map[string]uint64 {
	if box.Aside == 0 {
		return box.Dropped
	}
	all := maps.Clone(box.Dropped)
	all["parked"] = box.Aside
	return all
}

// dropped counts, by reason, the messages that were accepted and did not reach every receiver
// that should have had them.
func dropped(s *broker.Stats, box *upstream.Stats) map[string]uint64 {
	all := map[string]uint64{}
	maps.Copy(all, s.Dropped)
	for reason, k := range box.Dropped {
		all["upstream-"+reason] += k
	}
	return all
}
