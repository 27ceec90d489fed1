package metrics

import "github.com/prometheus/client_golang/prometheus"

// declaration is one metric as a value: its name never changes once released.
type declaration struct {
	name, help, label string
	buckets           []float64
}

var (
	messagesDenied = declaration{name: "gatehouse_denied_total", help: "Operations refused, by reason code.", label: "reason"}
	connections    = declaration{name: "gatehouse_connects_total", help: "Decided CONNECTs, by result: accepted, or the reason code.", label: "result"}
	syncResults    = declaration{name: "gatehouse_sync_rounds_total", help: "Rounds of the sync with the cloud, by result.", label: "result"}

	decisionSeconds   = declaration{name: "gatehouse_decision_seconds", help: "Time of one authorization decision.", buckets: []float64{100e-9, 250e-9, 500e-9, 1e-6, 2.5e-6, 5e-6, 10e-6, 50e-6, 250e-6, 1e-3}}
	revocationSeconds = declaration{name: "gatehouse_revocation_seconds", help: "Time from a change arriving to its revocation confirmed on live sessions.", buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}}
	ackSeconds        = declaration{name: "gatehouse_ack_seconds", help: "Time from a QoS 1 or 2 publish to its durable acknowledgement.", buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .5, 2}}
)

func newHistogram(d declaration) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: d.name, Help: d.help, Buckets: d.buckets})
}

// Build names the program for gatehouse_build_info.
type Build struct{ Version, GoVersion string }

// Snapshot is what is read at a scrape.
type Snapshot struct {
	Accepted, Delivered          uint64 // messages since the start
	ForUpstream, Forwarded       uint64
	Malformed                    uint64
	Dropped                      map[string]uint64 // by reason; the reasons are ours
	Sessions, SessionsConnected  int
	Subscriptions, Retained      int
	QueuedMessages, QueuedBytes  int64
	OutboxMessages, OutboxBytes  int64
	OutboxOldestSeconds          float64
	CacheEpoch, CacheNumber      uint64
	CacheAgeSeconds              float64
	Stage                        int // 0 fresh … 3 expired
	UpstreamConnected            bool
	Warnings                     int // raised, of any severity above notice
	Roles, Assignments, Devices  int
	AuditSuppressed, AuditMissed uint64
}

// Sources is where a scrape reads. Snapshot must not block: it is called
// while a scraper waits. Nil: all gauges are left out.
type Sources struct{ Snapshot func() Snapshot }

type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*Snapshot) float64
}

type gauges struct {
	info    prometheus.Metric
	dropped *prometheus.Desc
	source  func() Snapshot
	list    []gauge
}

func newGauges(b Build, src Sources) *gauges {
	g := &gauges{source: src.Snapshot,
		dropped: prometheus.NewDesc("gatehouse_messages_dropped_total", "Accepted messages that are not delivered, by reason; upstream-…: that are not forwarded.", []string{"reason"}, nil)}
	g.info = prometheus.MustNewConstMetric(prometheus.NewDesc("gatehouse_build_info", "Always 1; the labels name the build.", []string{"version", "go"}, nil),
		prometheus.GaugeValue, 1, b.Version, b.GoVersion)
	add := func(name, help string, kind prometheus.ValueType, read func(*Snapshot) float64) {
		g.list = append(g.list, gauge{prometheus.NewDesc(name, help, nil, nil), kind, read})
	}
	const now, total = prometheus.GaugeValue, prometheus.CounterValue
	add("gatehouse_messages_accepted_total", "Publishes of clients that were decided and taken, whether they stay here or go upstream.", total, func(s *Snapshot) float64 { return float64(s.Accepted) })
	add("gatehouse_messages_delivered_total", "Messages given to subscribers.", total, func(s *Snapshot) float64 { return float64(s.Delivered) })
	add("gatehouse_messages_for_upstream_total", "Messages that a route sends upstream, with what had waited at the start: forwarded, waiting in the outbox, or dropped as upstream-….", total, func(s *Snapshot) float64 { return float64(s.ForUpstream) })
	add("gatehouse_messages_forwarded_total", "Messages acknowledged by the upstream.", total, func(s *Snapshot) float64 { return float64(s.Forwarded) })
	add("gatehouse_frames_refused_total", "Connections ended for a frame that breaks the protocol or a limit.", total, func(s *Snapshot) float64 { return float64(s.Malformed) })
	add("gatehouse_sessions", "Sessions, connected or kept.", now, func(s *Snapshot) float64 { return float64(s.Sessions) })
	add("gatehouse_sessions_connected", "Sessions with a live connection.", now, func(s *Snapshot) float64 { return float64(s.SessionsConnected) })
	add("gatehouse_subscriptions", "Subscriptions of all sessions.", now, func(s *Snapshot) float64 { return float64(s.Subscriptions) })
	add("gatehouse_retained_messages", "Retained messages.", now, func(s *Snapshot) float64 { return float64(s.Retained) })
	add("gatehouse_queued_messages", "Messages waiting in session queues.", now, func(s *Snapshot) float64 { return float64(s.QueuedMessages) })
	add("gatehouse_queued_bytes", "Bytes waiting in session queues.", now, func(s *Snapshot) float64 { return float64(s.QueuedBytes) })
	add("gatehouse_outbox_messages", "Messages waiting for the upstream.", now, func(s *Snapshot) float64 { return float64(s.OutboxMessages) })
	add("gatehouse_outbox_bytes", "Bytes waiting for the upstream.", now, func(s *Snapshot) float64 { return float64(s.OutboxBytes) })
	add("gatehouse_outbox_oldest_seconds", "Age of the oldest message waiting for the upstream.", now, func(s *Snapshot) float64 { return s.OutboxOldestSeconds })
	add("gatehouse_cache_epoch", "Epoch of the policy in force.", now, func(s *Snapshot) float64 { return float64(s.CacheEpoch) })
	add("gatehouse_cache_version", "Number of the policy in force, within its epoch.", now, func(s *Snapshot) float64 { return float64(s.CacheNumber) })
	add("gatehouse_cache_age_seconds", "Time since the cloud last confirmed the policy.", now, func(s *Snapshot) float64 { return s.CacheAgeSeconds })
	add("gatehouse_offline_stage", "0 fresh, 1 stale, 2 restricted, 3 expired.", now, func(s *Snapshot) float64 { return float64(s.Stage) })
	add("gatehouse_upstream_connected", "1 when an end-to-end probe of the upstream came back.", now, func(s *Snapshot) float64 { return truth(s.UpstreamConnected) })
	add("gatehouse_health_warnings", "Health warnings that are raised.", now, func(s *Snapshot) float64 { return float64(s.Warnings) })
	add("gatehouse_roles", "Roles in force.", now, func(s *Snapshot) float64 { return float64(s.Roles) })
	add("gatehouse_assignments", "Role assignments in force.", now, func(s *Snapshot) float64 { return float64(s.Assignments) })
	add("gatehouse_devices", "Devices in the topology.", now, func(s *Snapshot) float64 { return float64(s.Devices) })
	add("gatehouse_audit_suppressed_total", "Audit records above the rate, kept as counts.", total, func(s *Snapshot) float64 { return float64(s.AuditSuppressed) })
	add("gatehouse_audit_missed_total", "Audit records that could not be written to the file or log.", total, func(s *Snapshot) float64 { return float64(s.AuditMissed) })
	return g
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.info.Desc()
	ch <- g.dropped
	for _, m := range g.list {
		ch <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (g *gauges) Collect(ch chan<- prometheus.Metric) {
	ch <- g.info
	if g.source == nil {
		return
	}
	s := g.source()
	for _, m := range g.list {
		ch <- prometheus.MustNewConstMetric(m.desc, m.kind, m.read(&s))
	}
	for reason, n := range s.Dropped {
		ch <- prometheus.MustNewConstMetric(g.dropped, prometheus.CounterValue, float64(n), reason)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
