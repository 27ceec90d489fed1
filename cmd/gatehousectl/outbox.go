package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
)

// stdin is where a question is answered.
var stdin io.Reader = os.Stdin

type outboxCmd struct {
	List   outboxListCmd   `cmd:"" help:"What waits, by route and by device."`
	Peek   outboxPeekCmd   `cmd:"" help:"The next messages, without their payloads."`
	Parked outboxParkedCmd `cmd:"" help:"The messages that upstream does not take, and why."`
	Retry  outboxRetryCmd  `cmd:"" help:"Offer parked messages to upstream again."`
	Purge  outboxPurgeCmd  `cmd:"" help:"Forget messages that wait, or that are parked. They are lost."`
	Pause  outboxPauseCmd  `cmd:"" help:"Send nothing of a device, or nothing at all, until resume or a restart."`
	Resume outboxResumeCmd `cmd:"" help:"Send again what is paused."`
	Drain  outboxDrainCmd  `cmd:"" help:"Resume all, and send what waits faster than outbox.replayRate."`
}

// selection says which messages a command is about.
type selection struct {
	Device string `help:"Of this device." placeholder:"ID"`
	Route  string `help:"By this route." placeholder:"NAME"`
	Seq    uint64 `help:"The one of this number." placeholder:"N"`
}

func (s selection) query(limit int) admin.OutboxQuery {
	return admin.OutboxQuery{Device: s.Device, Route: s.Route, Seq: s.Seq, Limit: limit}
}

type outboxListCmd struct {
	selection `kong:"embed"`
	Limit     int `help:"At most so many devices, those with most bytes." default:"100" short:"n"`
}

func (c outboxListCmd) Run(e *env) error {
	r, err := e.client.Outbox(e.ctx, c.query(c.Limit))
	if err != nil {
		return err
	}
	return e.print(r, func(p *printer) {
		pileTable(p, "ROUTE", r.Routes)
		pileTable(p, "DEVICE", r.Devices)
		if r.Parked > 0 {
			p.line(in(red, "%d messages are parked", r.Parked), text("gatehousectl outbox parked lists them"))
		}
	})
}

func pileTable(p *printer, name string, piles []admin.OutboxPile) {
	rows := make([][]cell, len(piles))
	for i, x := range piles {
		state := text("")
		if x.Paused {
			state = in(yellow, "paused")
		}
		rows[i] = []cell{text("%s", x.Name), text("%d", x.Messages), text("%s", bytesText(x.Bytes)), text("%s", ageText(x.Oldest)), state}
	}
	p.table([]string{name, "MESSAGES", "BYTES", "OLDEST", ""}, rows, "nothing waits")
}

// ageText is how long ago a time was; "" when it is not known.
func ageText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return seconds(time.Since(t).Seconds())
}

type outboxPeekCmd struct {
	selection `kong:"embed"`
	Limit     int `help:"At most so many." default:"20" short:"n"`
}

func (c outboxPeekCmd) Run(e *env) error {
	list, err := e.client.OutboxPeek(e.ctx, c.query(c.Limit))
	if err != nil {
		return err
	}
	return e.print(list, func(p *printer) { messageTable(p, list, "nothing waits") })
}

type outboxParkedCmd struct {
	selection `kong:"embed"`
	Limit     int `help:"At most so many." default:"100" short:"n"`
}

func (c outboxParkedCmd) Run(e *env) error {
	list, err := e.client.OutboxParked(e.ctx, c.query(c.Limit))
	if err != nil {
		return err
	}
	return e.print(list, func(p *printer) { messageTable(p, list, "nothing is parked") })
}

func messageTable(p *printer, list []admin.OutboxMessage, none string) {
	rows := make([][]cell, len(list))
	for i, m := range list {
		note := m.Reason
		if m.Sent {
			note = "sent, not acknowledged"
		}
		rows[i] = []cell{text("%d", m.Seq), text("%s", m.Device), text("%s", m.Route), text("%s", m.Topic), text("%s", bytesText(m.Bytes)),
			text("%s", ageText(m.Accepted)), text("%s", ageText(m.ParkedAt)), text("%s", note)}
	}
	p.table([]string{"NUMBER", "DEVICE", "ROUTE", "TOPIC", "BYTES", "AGE", "PARKED FOR", ""}, rows, none)
}

type outboxRetryCmd struct {
	selection `kong:"embed"`
	All       bool `help:"All that are parked."`
}

func (c outboxRetryCmd) Run(e *env) error {
	r := admin.OutboxRequest{Action: admin.OutboxRetry, Device: c.Device, Route: c.Route, Seq: c.Seq, All: c.All}
	return act(e, r, "%d messages are offered to upstream again")
}

type outboxPurgeCmd struct {
	selection `kong:"embed"`
	All       bool `help:"All messages."`
	Parked    bool `help:"Those that are parked instead of those that wait."`
	Yes       bool `help:"Do not ask." short:"y"`
}

func (c outboxPurgeCmd) Run(e *env) error {
	r := admin.OutboxRequest{Action: admin.OutboxPurge, Device: c.Device, Route: c.Route, Seq: c.Seq, All: c.All, Parked: c.Parked}
	if (c.Device != "" || c.Route != "" || c.Seq != 0 || c.All) && !c.Yes {
		if err := c.ask(e); err != nil {
			return err
		}
	}
	return act(e, r, "%d messages are gone")
}

// ask says what would go, and ends the command unless the answer is yes.
func (c outboxPurgeCmd) ask(e *env) error {
	n, what := 0, "that wait"
	if c.Parked || c.Seq != 0 {
		what = "selected"
		get, most := e.client.OutboxPeek, 1 // one message has the number
		if c.Parked {
			get, most, what = e.client.OutboxParked, 10000, "that are parked"
		}
		list, err := get(e.ctx, c.query(most))
		if err != nil {
			return err
		}
		n = len(list)
	} else {
		r, err := e.client.Outbox(e.ctx, c.query(0))
		if err != nil {
			return err
		}
		for _, x := range r.Routes {
			n += x.Messages
		}
	}
	_, _ = fmt.Fprintf(e.errors, "%d messages %s would be lost. Go on? [y/N] ", n, what)
	answer, _ := bufio.NewReader(stdin).ReadString('\n')
	if a := strings.ToLower(strings.TrimSpace(answer)); a != "y" && a != "yes" {
		return &admin.Error{What: "nothing was removed", Next: "answer y, or give --yes in a script"}
	}
	return nil
}

type outboxPauseCmd struct {
	Device string `help:"Of this device." placeholder:"ID" xor:"who" required:""`
	All    bool   `help:"Of everybody." xor:"who" required:""`
}

func (c outboxPauseCmd) Run(e *env) error {
	return act(e, admin.OutboxRequest{Action: admin.OutboxPause, Device: c.Device, All: c.All}, "paused: %d messages wait")
}

type outboxResumeCmd struct {
	Device string `help:"Of this device." placeholder:"ID" xor:"who" required:""`
	All    bool   `help:"Of everybody." xor:"who" required:""`
}

func (c outboxResumeCmd) Run(e *env) error {
	return act(e, admin.OutboxRequest{Action: admin.OutboxResume, Device: c.Device, All: c.All}, "resumed: %d messages wait")
}

type outboxDrainCmd struct{}

func (outboxDrainCmd) Run(e *env) error {
	return act(e, admin.OutboxRequest{Action: admin.OutboxDrain}, "%d messages are sent as fast as upstream takes them")
}

func act(e *env, r admin.OutboxRequest, done string) error {
	v, err := e.client.OutboxAct(e.ctx, r)
	if err != nil {
		return err
	}
	return e.print(v, func(p *printer) { p.linef(done, v.Messages) })
}
