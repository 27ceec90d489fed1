package inspect

import (
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/metrics"
)

// Gauges returns the values of Prometheus' metrics at a scrape. They are those of Status.
func (n *Inspector) Gauges() metrics.Snapshot {
	st, box := n.o.Broker.Stats(), n.outboxStats()
	outbox, ix, written := n.outboxState(&box), n.index(), n.o.Audit()
	s := metrics.Snapshot{
		Accepted:            accepted(&st),
		Delivered:           st.Delivered,
		ForUpstream:         box.Restored + box.Accepted,
		Forwarded:           box.Acked,
		Malformed:           st.Malformed,
		Dropped:             dropped(&st, &box),
		TurnedAway:          st.TurnedAway,
		Unauthenticated:     st.Pending,
		Sessions:            st.Sessions,
		SessionsConnected:   st.Connections,
		SessionsContested:   st.Contested,
		SessionsAwaited:     st.Waiting,
		TakeOvers:           st.TakeOvers,
		Subscriptions:       st.Subscriptions,
		Retained:            st.Retained,
		QueuedMessages:      int64(st.Queued),
		QueuedBytes:         st.QueuedBytes,
		OutboxMessages:      outbox.Messages,
		OutboxBytes:         outbox.Bytes,
		OutboxParked:        int64(box.Parked),
		OutboxWithheld:      int64(box.Withheld),
		OutboxParkedDropped: box.ParkedDropped,
		OutboxOldestSeconds: outbox.OldestSeconds,
		CacheEpoch:          ix.Version().Epoch,
		CacheNumber:         ix.Version().Number,
		CacheAgeSeconds:     n.o.Aging.Age().Seconds(),
		Stage:               int(n.o.Aging.Stage()),
		UpstreamConnected:   n.upstreamState().State == "connected",
		Roles:               ix.Roles(),
		Assignments:         ix.Assignments(),
		Devices:             n.count().devices,
		AuditSuppressed:     written.Suppressed,
		AuditMissed:         written.Missed,
	}
	s.CertificateSecondsLeft = map[string]float64{}
	now := n.o.Now()
	for _, c := range n.o.Doors.Certificates() {
		s.CertificateSecondsLeft[c.Door] = c.Left(now).Seconds()
	}
	for _, w := range n.o.Health().Warnings {
		s.Raised = append(s.Raised, metrics.Warning{Name: w.Name, Severity: w.Severity.String()})
		if w.Severity > health.Notice {
			s.Warnings++
		}
	}
	return s
}
