package audit

import (
	"testing"
	"unicode"

	"github.com/gatehouse/gatehouse/gateway/message"
)

func TestSentence(t *testing.T) {
	for _, c := range []struct {
		record message.AuditRecord
		want   string
	}{
		{
			message.AuditRecord{
				Event:     "publish",
				Principal: "device:reader-1",
				Topic:     "devices/reader-1/messages/events/",
				Reason:    "role-lacks-operation",
				Count:     1,
			},
			"denied publish by device reader-1 on devices/reader-1/messages/events/: role-lacks-operation",
		},
		{
			message.AuditRecord{
				Event:    "connect",
				ClientID: "reader-9",
				Remote:   "192.0.2.7:50312",
				Reason:   "unknown-device",
				Count:    12,
			},
			`denied connect by client "reader-9" from 192.0.2.7:50312 (12 times): unknown-device`,
		},
		{
			message.AuditRecord{
				Event:     "connect",
				Allowed:   true,
				Principal: "device:a",
				Remote:    "192.0.2.7:1",
				Count:     1,
			},
			"allowed connect by device a from 192.0.2.7:1",
		},
		{message.AuditRecord{Event: "connect", Reason: "malformed", Count: 1}, "denied connect by an unnamed client: malformed"},
		{message.AuditRecord{
			Event:   "stage",
			Allowed: true,
			Reason:  "stale",
			Detail:  "was fresh",
			Count:   1,
		}, "stage: stale, was fresh"},
		{
			message.AuditRecord{
				Event:     "revoke",
				Allowed:   true,
				Principal: "device:a",
				Reason:    "device-deleted",
				Count:     1,
			},
			"revoke of device a: device-deleted",
		},
		{ // an escape sequence that would clear the screen, a line that would look like another record
			message.AuditRecord{
				Event:    "connect",
				ClientID: "x\x1b[2J",
				Topic:    "a\nallowed\u202e\xff",
				Reason:   "r",
				Count:    1,
			},
			`denied connect by client "x\x1b[2J" on a\nallowed\u202e\xff: r`,
		},
	} {
		if got := Sentence(&c.record); got != c.want {
			t.Errorf("%+v\n got %s\nwant %s", c.record, got, c.want)
		}
	}
}

// Whatever a client writes into a record, the line holds printable characters only.
func FuzzSentence(f *testing.F) {
	f.Add("publish", "device:a", "c", "t", "r", "d")
	f.Add("\x00", "\x1b]0;x\x07", "\r\n", "\u2028", "\xff", "\u009b31m")
	f.Fuzz(func(t *testing.T, event, principal, client, topic, reason, detail string) {
		for _, r := range Sentence(&message.AuditRecord{
			Event:     event,
			Principal: principal,
			ClientID:  client,
			Topic:     topic,
			Reason:    reason,
			Detail:    detail,
			Remote:    client,
		}) {
			if !unicode.IsPrint(r) {
				t.Fatalf("%q", r)
			}
		}
	})
}
