package audit

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/printable"
)

// decisions are the events in which a client or an operator asked for something. All other
// events happen to the gateway itself.
var decisions = map[string]bool{
	"connect": true, "publish": true, "subscribe": true, "deliver": true, "will": true,
	"deployment": true, "method": true, "registry": true, "rest": true, "admin": true,
}

// Sentence is the record as one line for a person, as the journal shows it:
//
//	denied publish by device reader-1 on devices/reader-1/messages/events/: role-lacks-operation
//	denied connect by client "reader-9" from 192.0.2.7:50312 (12 times): unknown-device
//	stage: stale, was fresh
//
// Names, topics and details may come from a client. What cannot be printed is written as an escape,
// so that no client moves the cursor of the terminal on which the line is read.
func Sentence(r *message.AuditRecord) string {
	var b strings.Builder
	if !decisions[r.Event] {
		b.WriteString(printable.Text(r.Event))
		if r.Principal != "" {
			b.WriteString(" of " + who(r))
		}
		b.WriteString(times(r) + ": " + printable.Text(r.Reason))
		if r.Detail != "" {
			b.WriteString(", " + printable.Text(r.Detail))
		}
		return b.String()
	}
	verdict := "denied"
	if r.Allowed {
		verdict = "allowed"
	}
	b.WriteString(verdict + " " + printable.Text(r.Event) + " by " + who(r))
	if r.Topic != "" {
		b.WriteString(" on " + printable.Text(r.Topic))
	}
	if r.Event == "connect" && r.Remote != "" {
		b.WriteString(" from " + printable.Text(r.Remote))
	}
	b.WriteString(times(r))
	if r.Reason != "" {
		b.WriteString(": " + printable.Text(r.Reason))
	}
	return b.String()
}

// who names the principal by kind and name ("device reader-1" for the key device:reader-1), or, where
// nothing was proved, the client by the id that it claimed.
func who(r *message.AuditRecord) string {
	if r.Principal != "" {
		return strings.Replace(printable.Text(r.Principal), ":", " ", 1)
	}
	if r.ClientID != "" {
		return "client " + strconv.Quote(r.ClientID)
	}
	return "an unnamed client"
}

func times(r *message.AuditRecord) string {
	if r.Count > 1 {
		return fmt.Sprintf(" (%d times)", r.Count)
	}
	return ""
}
