package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// declaration describes one metric. A metric's name never changes once it has been released.
type declaration struct {
	name, help, label string
	buckets           []float64
}

var (
	messagesDenied = declaration{name: "gatehouse_denied_total", help: "Operations refused, by reason code.", label: "reason"}
	connections    = declaration{
		name:  "gatehouse_connects_total",
		help:  "Decided CONNECTs, by result: accepted, or the reason code.",
		label: "result",
	}
	syncResults = declaration{name: "gatehouse_sync_rounds_total", help: "Rounds of the sync with the cloud, by result.", label: "result"}

	decisionSeconds = declaration{
		name:    "gatehouse_decision_seconds",
		help:    "Time of one authorization decision.",
		buckets: []float64{100e-9, 250e-9, 500e-9, 1e-6, 2.5e-6, 5e-6, 10e-6, 50e-6, 250e-6, 1e-3},
	}
	revocationSeconds = declaration{
		name:    "gatehouse_revocation_seconds",
		help:    "Time from a change arriving to its revocation confirmed on live sessions.",
		buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5},
	}
	ackSeconds = declaration{
		name:    "gatehouse_ack_seconds",
		help:    "Time from a QoS 1 or 2 publish to its durable acknowledgement.",
		buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .5, 2},
	}
)

func newHistogram(d declaration) prometheus.Histogram {
	return prometheus.NewHistogram(prometheus.HistogramOpts{Name: d.name, Help: d.help, Buckets: d.buckets})
}

// readAtScrape are the metrics whose values are taken from Snapshot at each scrape. Those whose
// names end in _total are counters, the others gauges.
var readAtScrape = []struct {
	name, help string
	read       func(*Snapshot) float64
}{
	{
		name: "gatehouse_messages_accepted_total",
		help: "Publishes of clients that were decided and taken, whether they stay here or go upstream.",
		read: func(s *Snapshot) float64 { return float64(s.Accepted) },
	},
	{
		name: "gatehouse_messages_delivered_total",
		help: "Messages given to subscribers.",
		read: func(s *Snapshot) float64 { return float64(s.Delivered) },
	},
	{
		name: "gatehouse_messages_for_upstream_total",
		help: "Messages that a route sends upstream, with what had waited at the start: " +
			"forwarded, waiting in the outbox, or dropped as upstream-….",
		read: func(s *Snapshot) float64 { return float64(s.ForUpstream) },
	},
	{
		name: "gatehouse_messages_forwarded_total",
		help: "Messages acknowledged by the upstream.",
		read: func(s *Snapshot) float64 { return float64(s.Forwarded) },
	},
	{
		name: "gatehouse_frames_refused_total",
		help: "Connections ended for a frame that breaks the protocol or a limit.",
		read: func(s *Snapshot) float64 { return float64(s.Malformed) },
	},
	{
		name: "gatehouse_sessions",
		help: "Sessions, connected or kept.",
		read: func(s *Snapshot) float64 { return float64(s.Sessions) },
	},
	{
		name: "gatehouse_sessions_connected",
		help: "Sessions with a live connection.",
		read: func(s *Snapshot) float64 { return float64(s.SessionsConnected) },
	},
	{
		name: "gatehouse_session_takeovers_total",
		help: "Times that a newer connection took a session from a live one.",
		read: func(s *Snapshot) float64 { return float64(s.TakeOvers) },
	},
	{
		name: "gatehouse_sessions_contested",
		help: "Sessions that two clients with one client id take from each other at the moment.",
		read: func(s *Snapshot) float64 { return float64(s.SessionsContested) },
	},
	{
		name: "gatehouse_connections_waiting",
		help: "Authenticated connections that wait for a contested session.",
		read: func(s *Snapshot) float64 { return float64(s.SessionsAwaited) },
	},
	{
		name: "gatehouse_connections_unauthenticated",
		help: "Connections whose client is not authenticated yet.",
		read: func(s *Snapshot) float64 { return float64(s.Unauthenticated) },
	},
	{
		name: "gatehouse_subscriptions",
		help: "Subscriptions of all sessions.",
		read: func(s *Snapshot) float64 { return float64(s.Subscriptions) },
	},
	{
		name: "gatehouse_retained_messages",
		help: "Retained messages.",
		read: func(s *Snapshot) float64 { return float64(s.Retained) },
	},
	{
		name: "gatehouse_queued_messages",
		help: "Messages waiting in session queues.",
		read: func(s *Snapshot) float64 { return float64(s.QueuedMessages) },
	},
	{
		name: "gatehouse_queued_bytes",
		help: "Bytes waiting in session queues.",
		read: func(s *Snapshot) float64 { return float64(s.QueuedBytes) },
	},
	{
		name: "gatehouse_outbox_messages",
		help: "Messages waiting for the upstream.",
		read: func(s *Snapshot) float64 { return float64(s.OutboxMessages) },
	},
	{
		name: "gatehouse_outbox_parked_messages",
		help: "Messages that upstream does not take, set aside until they are retried or purged.",
		read: func(s *Snapshot) float64 { return float64(s.OutboxParked) },
	},
	{
		name: "gatehouse_outbox_withheld_messages",
		help: "Publishes that wait, unacknowledged, until the outbox has capacity; they are not among those waiting for the upstream.",
		read: func(s *Snapshot) float64 { return float64(s.OutboxWithheld) },
	},
	{
		name: "gatehouse_outbox_parked_dropped_total",
		help: "Parked messages that were dropped because too many are.",
		read: func(s *Snapshot) float64 { return float64(s.OutboxParkedDropped) },
	},
	{
		name: "gatehouse_outbox_bytes",
		help: "Bytes waiting for the upstream.",
		read: func(s *Snapshot) float64 { return float64(s.OutboxBytes) },
	},
	{
		name: "gatehouse_outbox_oldest_seconds",
		help: "Age of the oldest message waiting for the upstream.",
		read: func(s *Snapshot) float64 { return s.OutboxOldestSeconds },
	},
	{
		name: "gatehouse_cache_epoch",
		help: "Epoch of the policy in force.",
		read: func(s *Snapshot) float64 { return float64(s.CacheEpoch) },
	},
	{
		name: "gatehouse_cache_version",
		help: "Number of the policy in force, within its epoch.",
		read: func(s *Snapshot) float64 { return float64(s.CacheNumber) },
	},
	{
		name: "gatehouse_cache_age_seconds",
		help: "Time since the cloud last confirmed the policy.",
		read: func(s *Snapshot) float64 { return s.CacheAgeSeconds },
	},
	{
		name: "gatehouse_offline_stage",
		help: "0 fresh, 1 stale, 2 restricted, 3 expired.",
		read: func(s *Snapshot) float64 { return float64(s.Stage) },
	},
	{
		name: "gatehouse_upstream_connected",
		help: "1 when an end-to-end probe of the upstream came back.",
		read: func(s *Snapshot) float64 { return truth(s.UpstreamConnected) },
	},
	{
		name: "gatehouse_health_warnings",
		help: "Health warnings that are raised, notices left out.",
		read: func(s *Snapshot) float64 { return float64(s.Warnings) },
	},
	{
		name: "gatehouse_roles",
		help: "Roles that can grant something, built-in ones included, of the space model and of Azure.",
		read: func(s *Snapshot) float64 { return float64(s.Roles) },
	},
	{
		name: "gatehouse_assignments",
		help: "Role assignments in force, of the space model and of Azure.",
		read: func(s *Snapshot) float64 { return float64(s.Assignments) },
	},
	{
		name: "gatehouse_devices",
		help: "Devices in the topology.",
		read: func(s *Snapshot) float64 { return float64(s.Devices) },
	},
	{
		name: "gatehouse_audit_suppressed_total",
		help: "Audit records above the rate, kept as counts.",
		read: func(s *Snapshot) float64 { return float64(s.AuditSuppressed) },
	},
	{
		name: "gatehouse_audit_missed_total",
		help: "Audit records that could not be written to the file or log.",
		read: func(s *Snapshot) float64 { return float64(s.AuditMissed) },
	},
}

// Build names the program for gatehouse_build_info.
type Build struct{ Version, GoVersion string }

// Snapshot holds the values that are read at a scrape.
type Snapshot struct {
	Accepted, Delivered          uint64 // messages since the start
	ForUpstream, Forwarded       uint64
	Malformed                    uint64
	Dropped                      map[string]uint64 // by reason, of which there is a fixed number
	TurnedAway                   map[string]uint64 // connections, likewise
	Unauthenticated              int               // connections
	Sessions, SessionsConnected  int
	SessionsContested            int
	SessionsAwaited              int // connections that wait for one of those
	TakeOvers                    uint64
	Subscriptions, Retained      int
	QueuedMessages, QueuedBytes  int64
	OutboxMessages, OutboxBytes  int64
	OutboxParked                 int64
	OutboxWithheld               int64
	OutboxParkedDropped          uint64
	OutboxOldestSeconds          float64
	CacheEpoch, CacheNumber      uint64
	CacheAgeSeconds              float64
	Stage                        int // 0 fresh … 3 expired
	UpstreamConnected            bool
	Warnings                     int // raised, of any severity above notice
	Raised                       []Warning
	Roles, Assignments, Devices  int
	AuditSuppressed, AuditMissed uint64
	CertificateSecondsLeft       map[string]float64 // by the door that serves it; negative after the end
}

// Warning is a health warning that is raised. Names are those of package health: constants of this
// program, or made from the names of the configuration's listeners.
type Warning struct{ Name, Severity string }

// Sources provides the values of a scrape. Snapshot must not block, because the scraper waits
// for it. If it is nil, the metrics in readAtScrape are left out.
type Sources struct{ Snapshot func() Snapshot }

type gauge struct {
	desc *prometheus.Desc
	kind prometheus.ValueType
	read func(*Snapshot) float64
}

type gauges struct {
	info    prometheus.Metric
	dropped *prometheus.Desc
	away    *prometheus.Desc
	ends    *prometheus.Desc
	raised  *prometheus.Desc
	source  func() Snapshot
	list    []gauge
}

func newGauges(b Build, src Sources) *gauges {
	g := &gauges{
		source: src.Snapshot,
		dropped: prometheus.NewDesc("gatehouse_messages_dropped_total",
			"Accepted messages that are not delivered, by reason; upstream-…: that are not forwarded.", []string{"reason"}, nil),
	}
	g.away = prometheus.NewDesc("gatehouse_connections_turned_away_total",
		"Connections refused before their CONNECT was read, or closed meanwhile to make room for others, by reason.", []string{"reason"}, nil)
	g.ends = prometheus.NewDesc("gatehouse_certificate_seconds_left",
		"Time until the certificate that a listener serves expires, by listener; negative afterwards.", []string{"listener"}, nil)
	g.raised = prometheus.NewDesc("gatehouse_warning",
		"1 for each health warning that is raised; absent otherwise.", []string{"name", "severity"}, nil)
	g.info = prometheus.MustNewConstMetric(
		prometheus.NewDesc("gatehouse_build_info", "Always 1; the labels name the build.", []string{"version", "go"}, nil),
		prometheus.GaugeValue, 1, b.Version, b.GoVersion)
	for _, m := range readAtScrape {
		kind := prometheus.GaugeValue
		if strings.HasSuffix(m.name, "_total") {
			kind = prometheus.CounterValue
		}
		g.list = append(g.list, gauge{prometheus.NewDesc(m.name, m.help, nil, nil), kind, m.read})
	}
	return g
}

// Describe implements prometheus.Collector.
func (g *gauges) Describe(ch chan<- *prometheus.Desc) {
	ch <- g.info.Desc()
	ch <- g.dropped
	ch <- g.away
	ch <- g.ends
	ch <- g.raised
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
	for _, w := range s.Raised {
		ch <- prometheus.MustNewConstMetric(g.raised, prometheus.GaugeValue, 1, w.Name, w.Severity)
	}
	for reason, n := range s.TurnedAway {
		ch <- prometheus.MustNewConstMetric(g.away, prometheus.CounterValue, float64(n), reason)
	}
	for listener, left := range s.CertificateSecondsLeft {
		ch <- prometheus.MustNewConstMetric(g.ends, prometheus.GaugeValue, left, listener)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
