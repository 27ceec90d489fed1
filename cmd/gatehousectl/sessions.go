package main

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/admin/client"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/printable"
)

type sessionsCmd struct {
	Filter    string `arg:"" optional:"" help:"A part of a key, name or client id."`
	Connected bool   `help:"Only connected ones." short:"c"`
	Limit     int    `help:"At most so many." default:"1000" short:"n"`
}

func (c sessionsCmd) Run(e *env) error {
	ss, err := e.client.Sessions(e.ctx, admin.SessionQuery{Principal: c.Filter, Connected: c.Connected, Limit: c.Limit})
	if err != nil {
		return err
	}
	return e.print(ss, func(p *printer) {
		rows := make([][]cell, len(ss))
		for i, s := range ss {
			state := in(dim, "away")
			if s.Connected {
				state = in(green, "on")
			}
			name := s.Principal
			if s.Name != "" && !strings.HasSuffix(s.Principal, ":"+s.Name) { // a device's key ends with its name
				name += " (" + s.Name + ")"
			}
			rows[i] = []cell{state, text("%s", name), text("%s", s.ClientID), text("%s", s.Remote), text("%s", s.Protocol), text("%s", s.Credential),
				text("%d", len(s.Subscriptions)), text("%d", s.Queued), lost(&s), text("%d/%d", s.Received, s.Sent), denials(s.Denied),
				text("%d", s.TakeOvers)}
		}
		head := []string{"", "PRINCIPAL", "CLIENT", "FROM", "MQTT", "BY", "SUBS", "QUEUED", "LOST", "IN/OUT", "DENIED", "TAKEN OVER"}
		p.table(head, rows, "no sessions")
	})
}

// lost is how many messages a session lost for want of capacity, in red while it goes on.
func lost(s *admin.Session) cell {
	style := dim
	if s.Overflowing {
		style = red
	}
	return in(style, "%d", s.LostOldest+s.LostNewest)
}

func denials(n uint64) cell {
	if n > 0 {
		return in(red, "%d", n)
	}
	return in(dim, "0")
}

type disconnectCmd struct {
	Session   string `help:"The key of one session." xor:"who" required:"" placeholder:"KEY"`
	Principal string `help:"All of this principal." xor:"who" required:"" placeholder:"KEY"`
	Reason    string `help:"For the audit." default:"by operator"`
}

func (c disconnectCmd) Run(e *env) error {
	r, err := e.client.Disconnect(e.ctx, admin.DisconnectRequest{Session: c.Session, Principal: c.Principal, Reason: c.Reason})
	if err != nil {
		return err
	}
	return e.print(r, func(p *printer) { p.linef("%d connections closed", r.Closed) })
}

type syncCmd struct {
	Full bool `help:"Read everything anew instead of the changes."`
}

func (c syncCmd) Run(e *env) error {
	r, err := e.client.Sync(e.ctx, admin.SyncRequest{Full: c.Full})
	if err != nil {
		return err
	}
	return e.print(r, func(p *printer) {
		p.linef("version %s → %s, %d changes, %.3f s", r.From, r.To, r.Changes, r.Seconds)
		if r.Detail != "" {
			p.linef("%s", r.Detail)
		}
	})
}

type resetClockCmd struct{}

func (resetClockCmd) Run(e *env) error {
	r, err := e.client.ResetClock(e.ctx)
	if err != nil {
		return err
	}
	return e.print(r, func(p *printer) {
		p.linef("the mark of time was %s, now it is %s", r.Was.Format(time.RFC3339), r.Now.Format(time.RFC3339))
	})
}

type auditCmd struct {
	Follow    bool   `help:"Keep printing what comes." short:"f"`
	Denied    bool   `help:"Only what was refused." short:"d"`
	Principal string `help:"Only of this principal or client id (a part is enough)." placeholder:"KEY"`
	Event     string `help:"Only this event: connect, publish, subscribe, …" placeholder:"NAME"`
	Reason    string `help:"Only this reason code." placeholder:"CODE"`
	Limit     int    `help:"The latest so many." default:"20" short:"n"`
	Each      bool   `help:"Every record on a line of its own; otherwise repeated denials are one line, with their count and the last time."`
}

func (c auditCmd) Run(e *env) error {
	q := client.AuditQuery{
		Limit:     c.Limit,
		Principal: c.Principal,
		Event:     c.Event,
		Reason:    c.Reason,
		Denied:    c.Denied,
	}
	if c.Follow {
		enc := json.NewEncoder(printable.JSONTo(e.out.w))
		return e.client.Follow(e.ctx, q, func(r message.AuditRecord) error {
			if e.json {
				return enc.Encode(r)
			}
			printRecord(e.out, &r)
			return e.out.err
		})
	}
	if !e.json && !c.Each {
		q.Limit = max(q.Limit, lookBack)
	}
	rs, err := e.client.Audit(e.ctx, q)
	if err != nil {
		return err
	}
	return e.print(rs, func(p *printer) {
		if !c.Each {
			rs = together(rs)
			rs = rs[max(0, len(rs)-c.Limit):]
		}
		for i := range rs {
			printRecord(p, &rs[i])
		}
		if len(rs) == 0 {
			p.line(in(dim, "nothing"))
		}
	})
}

// lookBack is how many records are asked for when repeated ones are put together.
const lookBack = 1000

// together makes one record of denials that are the same but for their time: the last of them, with the
// count of all. A device that is refused every second would otherwise hide everybody else's.
func together(rs []message.AuditRecord) []message.AuditRecord {
	type denial struct{ event, principal, client, topic, reason, detail string }
	last := map[denial]int{} // index into out, which is in reverse
	var out []message.AuditRecord
	for _, r := range slices.Backward(rs) {
		key := denial{r.Event, r.Principal, r.ClientID, r.Topic, r.Reason, r.Detail}
		if at, ok := last[key]; ok && !r.Allowed {
			out[at].Count += max(1, r.Count)
			continue
		}
		if !r.Allowed {
			last[key] = len(out)
			r.Count = max(1, r.Count)
		}
		out = append(out, r)
	}
	slices.Reverse(out)
	return out
}

// clock is the time of day, with its date before it unless that is today's.
func clock(t, now time.Time) string {
	text := t.Format(time.TimeOnly + ".000")
	if t.Format(time.DateOnly) != now.In(t.Location()).Format(time.DateOnly) {
		text = t.Format(time.DateOnly) + " " + text
	}
	return text
}

func printRecord(p *printer, r *message.AuditRecord) {
	verdict := in(red, "denied ")
	if r.Allowed {
		verdict = in(green, "allowed")
	}
	cells := []cell{in(dim, "%s", clock(r.Time.Local(), time.Now())), verdict, text("%-9s", r.Event), in(bold, "%s", r.Principal)}
	for _, s := range []string{r.Topic, r.Reason} {
		if s != "" {
			cells = append(cells, text("%s", s))
		}
	}
	if r.Detail != "" {
		cells = append(cells, in(dim, "%s", r.Detail))
	}
	if r.Count > 1 {
		cells = append(cells, in(yellow, "×%d", r.Count))
	}
	p.line(cells...)
}
