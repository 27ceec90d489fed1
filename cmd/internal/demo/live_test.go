package main

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/gateway/admin"
)

// The live line is rewritten in place, so it never reaches the terminal's edge.
func TestLineFits(t *testing.T) {
	now := admin.Status{
		Messages: admin.MessageCounts{
			Accepted:       123456,
			Denied:         31,
			ForUpstream:    123455,
			Forwarded:      123450,
			NotForwarded:   map[string]uint64{"expired": 1, "qos0-offline": 2},
			DeniedByReason: map[string]uint64{"unknown-device": 3, "no-assignment": 9, "role-lacks-operation": 19},
		},
		Outbox: admin.OutboxState{Messages: 2},
		Cache:  admin.CacheState{Version: "8113482802935536.2", AgeSeconds: 12, Stage: "fresh"},
	}
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, width := range []int{40, 60, 80, 100, 120, 160} {
		text := line(style{}, at, &now, true, width)
		if n := utf8.RuneCountInString(text); n >= width {
			t.Errorf("width %d: %d columns: %q", width, n, text)
		}
		if !strings.Contains(text, "accepted 123456") {
			t.Errorf("width %d: %q", width, text)
		}
	}
	const whole = "  12:00:00  ● accepted 123456 · denied 31 (role-lacks-operation 19, no-assignment 9, unknown-device 3)" +
		" · for upstream 123455 = forwarded 123450 + waiting 2 + dropped 3 · policy 2, 12 s old, fresh"
	if text := line(style{}, at, &now, false, 220); text != whole {
		t.Errorf("%q", text)
	}
	if text := line(style{on: true}, at, &now, true, 220); !strings.Contains(text, "\x1b[1;31mdenied 31 (") {
		t.Errorf("what was just denied is not red: %q", text)
	}
}
