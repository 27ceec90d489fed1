package main

import (
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
)

func printExchange(p *printer, r *load.Result) {
	p.line(in(bold, "%d publishers, %d subscribers, payloads of %d bytes, %.1f s", r.Publishers, r.Subscribers, r.PayloadBytes, r.Seconds))
	if r.Publishers > 0 {
		p.field("sent", text("%d, %.0f a second", r.Sent, r.SentRate))
	}
	if r.Acknowledged+r.Refused+r.Unacknowledged > 0 {
		p.field("acknowledged", text("%d, %.0f a second;", r.Acknowledged, r.AckedRate),
			count(r.Unacknowledged, "without an answer;"), count(r.Refused, "refused"))
		latencyLine(p, r.AckMicros)
	}
	for _, reason := range slices.Sorted(maps.Keys(r.Refusals)) {
		p.field("", in(red, "%s: %d", reason, r.Refusals[reason]))
	}
	if r.Subscribers > 0 {
		p.field("received", text("%d of %d, %.0f a second;", r.Received, r.Expected, r.ReceivedRate),
			count(r.Lost, "lost,"), count(r.LostAcknowledged, "of them acknowledged;"),
			count(r.Duplicated, "duplicated,"), count(r.Reordered, "reordered"))
		latencyLine(p, r.DeliveryMicros)
	}
	if r.Foreign+r.Stray > 0 {
		p.field("besides", count(r.Foreign, "messages of somebody else,"), count(r.Stray, "acknowledgements of nothing"))
	}
	closedLines(p, int64(r.Closed), r.Reasons)
	if !r.Whole() {
		p.line(in(red, "%d messages were acknowledged and did not arrive", r.LostAcknowledged))
	}
}

func printStorm(p *printer, r *load.StormResult, held time.Duration) {
	p.line(in(bold, "%d connections in %.1f s", r.Attempted, r.Seconds))
	p.field("accepted", text("%d, %.0f a second", r.Accepted, r.Rate))
	latencyLine(p, r.ConnectMicros)
	for _, reason := range slices.Sorted(maps.Keys(r.Failed)) {
		p.field("failed", in(red, "%d: %s", r.Failed[reason], reason))
	}
	if held > 0 {
		p.field("held", text("%v", held))
	}
	closedLines(p, r.Closed, r.Reasons)
}

func closedLines(p *printer, n int64, reasons []string) {
	if n == 0 {
		return
	}
	p.field("closed", in(red, "%d connections by the broker or the network", n))
	for _, reason := range reasons {
		p.field("", in(dim, "%s", reason))
	}
}

func count(n int64, what string) cell {
	if n > 0 {
		return in(red, "%d %s", n, what)
	}
	return in(dim, "0 %s", what)
}

func latencyLine(p *printer, l *load.Latency) {
	if l == nil {
		return
	}
	ms := func(us int64) string { return fmt.Sprintf("%.2f", float64(us)/1000) }
	p.field("", in(dim, "ms: p50 %s, p90 %s, p99 %s, p99.9 %s, max %s", ms(l.P50), ms(l.P90), ms(l.P99), ms(l.P999), ms(l.Max)))
}

// bar shows progress on a terminal, and nothing elsewhere.
type bar struct {
	w io.Writer // nil: nowhere

	mu    sync.Mutex
	shown time.Time // guarded by mu
	last  load.Progress
}

func newBar(w io.Writer) *bar {
	if !isTerminal(w) || os.Getenv("TERM") == "dumb" {
		w = nil
	}
	return &bar{w: w}
}

const barWidth = 30

func (b *bar) progress(p load.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	since := time.Since(b.shown)
	if b.w == nil || since < 100*time.Millisecond {
		return
	}
	fmt.Fprintf(b.w, "\r\x1b[K%s", barText(p, b.last))
	b.shown, b.last = time.Now(), p
}

// barText is one line: how far it is, and what was done since the last one.
func barText(p, last load.Progress) string {
	if p.ToBeReached > 0 {
		return drawn(float64(p.Connected)/float64(p.ToBeReached)) + fmt.Sprintf(" %d of %d connected", p.Connected, p.ToBeReached)
	}
	s := fmt.Sprintf("%5.1f s", p.Elapsed.Seconds())
	if p.Done >= 0 {
		s = drawn(p.Done) + " " + s
	}
	took := (p.Elapsed - last.Elapsed).Seconds()
	if took <= 0 || p.Sent+p.Received == 0 {
		return s
	}
	return s + fmt.Sprintf("  sent %.0f/s  acknowledged %.0f/s  received %.0f/s",
		float64(p.Sent-last.Sent)/took, float64(p.Acked-last.Acked)/took, float64(p.Received-last.Received)/took)
}

func drawn(share float64) string {
	n := int(max(0, min(1, share)) * barWidth)
	return fmt.Sprintf("[%s%s] %3.0f %%", strings.Repeat("=", n), strings.Repeat(" ", barWidth-n), 100*share)
}

func (b *bar) clear() {
	if b.w != nil {
		fmt.Fprint(b.w, "\r\x1b[K")
	}
}
