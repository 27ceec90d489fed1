package metrics

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func scrape(t *testing.T, r *Registry) string {
	t.Helper()
	srv := httptest.NewServer(Handler(r))
	defer srv.Close()
	resp, err := http.Get(srv.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatal(resp.Status, err)
	}
	return string(b)
}

func TestScrape(t *testing.T) {
	r := NewRegistry()
	snap := Snapshot{
		Sessions:               7,
		OutboxMessages:         3,
		OutboxBytes:            512,
		CacheEpoch:             1,
		CacheNumber:            42,
		CacheAgeSeconds:        1.5,
		UpstreamConnected:      true,
		AuditSuppressed:        9,
		Accepted:               11,
		Delivered:              12,
		ForUpstream:            16,
		Forwarded:              13,
		Malformed:              14,
		Dropped:                map[string]uint64{"slow-reader": 4},
		TurnedAway:             map[string]uint64{"hall-full": 5},
		Unauthenticated:        6,
		CertificateSecondsLeft: map[string]float64{"listener-mqtts": -60},
		Raised:                 []Warning{{"upstream-down", "degraded"}, {"listener-mqtts", "failing"}},
	}
	s, err := New(r, Build{Version: "1.2.3"}, Sources{Snapshot: func() Snapshot { return snap }})
	if err != nil {
		t.Fatal(err)
	}
	s.Denied("no-assignment", 3)
	s.Connected("accepted", 1)
	s.Synced("ok")
	s.Decided(300 * time.Nanosecond)
	s.Revoked(20 * time.Millisecond)
	s.Acked(3 * time.Millisecond)
	text := scrape(t, r)
	for _, line := range []string{
		`gatehouse_messages_accepted_total 11`,
		`gatehouse_messages_delivered_total 12`,
		`gatehouse_denied_total{reason="no-assignment"} 3`,
		`gatehouse_messages_for_upstream_total 16`,
		`gatehouse_messages_forwarded_total 13`,
		`gatehouse_connects_total{result="accepted"} 1`,
		`gatehouse_frames_refused_total 14`,
		`gatehouse_messages_dropped_total{reason="slow-reader"} 4`,
		`gatehouse_connections_turned_away_total{reason="hall-full"} 5`,
		`gatehouse_connections_unauthenticated 6`,
		`gatehouse_certificate_seconds_left{listener="listener-mqtts"} -60`,
		`gatehouse_warning{name="upstream-down",severity="degraded"} 1`,
		`gatehouse_warning{name="listener-mqtts",severity="failing"} 1`,
		`gatehouse_sync_rounds_total{result="ok"} 1`,
		`gatehouse_decision_seconds_bucket{le="2.5e-07"} 0`,
		`gatehouse_decision_seconds_bucket{le="5e-07"} 1`,
		`gatehouse_revocation_seconds_bucket{le="0.025"} 1`,
		`gatehouse_ack_seconds_count 1`,
		`gatehouse_sessions 7`,
		`gatehouse_outbox_messages 3`,
		`gatehouse_outbox_bytes 512`,
		`gatehouse_cache_version 42`,
		`gatehouse_cache_age_seconds 1.5`,
		`gatehouse_upstream_connected 1`,
		`gatehouse_audit_suppressed_total 9`,
		`version="1.2.3"`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("missing %s", line)
		}
	}
	snap.Sessions = 8
	if !strings.Contains(scrape(t, r), "gatehouse_sessions 8") {
		t.Error("a gauge is not read anew at each scrape")
	}
}

// TestBounded: a flood of different reasons does not grow the registry.
func TestBounded(t *testing.T) {
	r := NewRegistry()
	s, err := New(r, Build{}, Sources{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 * maxReasons {
		s.Denied(fmt.Sprintf("reason-%d", i), 1)
	}
	s.Denied("", 1)
	text := scrape(t, r)
	if n := strings.Count(text, "\ngatehouse_denied_total{"); n != maxReasons+1 {
		t.Errorf("%d series, want %d and other", n, maxReasons)
	}
	if want := fmt.Sprintf(`gatehouse_denied_total{reason="other"} %d`, 9*maxReasons+1); !strings.Contains(text, want) {
		t.Errorf("missing %s: what is not named must still be counted", want)
	}
	if strings.Contains(text, "gatehouse_sessions") {
		t.Error("gauges without a source")
	}
}

func TestTwice(t *testing.T) {
	r := NewRegistry()
	if _, err := New(r, Build{}, Sources{}); err != nil {
		t.Fatal(err)
	}
	if _, err := New(r, Build{}, Sources{}); err == nil {
		t.Error("a second set on the same registry was accepted")
	}
}

func TestCountingAllocatesNothing(t *testing.T) {
	s, err := New(NewRegistry(), Build{}, Sources{})
	if err != nil {
		t.Fatal(err)
	}
	s.Connected("accepted", 1)
	if n := testing.AllocsPerRun(100, func() { s.Connected("accepted", 1); s.Decided(time.Microsecond) }); n != 0 {
		t.Errorf("%v allocations for one publish", n)
	}
}
