package watch

import (
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// linkState is since when the link upstream is down, and since when up. A link that comes up for a moment
// again and again counts as down all the time: it is up once it has stood for a third of health.upstreamDown.
type linkState struct {
	down, up time.Time // zero: it is not
	waiting  int       // messages, at the last look at the outbox
}

// upstream looks at the link and at the hub's throttling.
func (w *Watch) upstream(now time.Time) {
	if w.o.Link == nil {
		return
	}
	state, detail, target, _ := w.o.Link.Status()
	l := &w.link
	switch {
	case state != "connected":
		l.up = time.Time{}
		if l.down.IsZero() {
			l.down = now
		}
	case l.up.IsZero():
		l.up = now
	case now.Sub(l.up) >= min(upstream.Lasting, w.o.Config.Health.UpstreamDown/3):
		l.down = time.Time{}
	}
	down := !l.down.IsZero() && now.Sub(l.down) >= w.o.Config.Health.UpstreamDown
	if down && state == "connected" {
		detail = "it comes up and does not stay"
	}
	warnings.UpstreamDown(w.o.Health, down, &warnings.Link{
		Target:  target,
		Detail:  detail,
		Since:   l.down,
		Waiting: l.waiting,
	})
	if hub, ok := w.o.Link.(interface{ Throttled() time.Time }); ok {
		last := hub.Throttled()
		warnings.UpstreamThrottled(w.o.Health, !last.IsZero() && now.Sub(last) < throttledKept, last)
	}
}

// outbox looks at what waits for upstream.
func (w *Watch) outbox(now time.Time) {
	s := w.o.Outbox.Stats()
	w.link.waiting = s.Waiting
	warnings.Parked(w.o.Health, s.Parked, s.ParkedDropped, s.Paused)
	f := warnings.Fill{Bytes: s.Bytes, Messages: s.Messages, Percent: max(
		percent(s.Bytes, int64(w.o.Config.Outbox.MaxBytes)),
		percent(int64(s.Messages), int64(w.o.Config.Outbox.MaxMessages)),
	)}
	w.full = level(w.full, f.Percent)
	warnings.OutboxFull(w.o.Health, w.full, f)
	bound := w.o.Config.Health.OldestWaiting
	old := bound > 0 && !s.Oldest.IsZero() && w.o.Now().Sub(s.Oldest) >= bound
	warnings.OutboxOldest(w.o.Health, old, s.Oldest, s.Waiting)
	warnings.PublishersHeld(w.o.Health, w.held.lately(now, s.Refused[upstream.ReasonFull]), s.Withheld)
}

func percent(part, whole int64) float64 {
	if whole <= 0 {
		return 0
	}
	return 100 * float64(part) / float64(whole)
}

// outboxLevels are the fills at which outbox-full is raised, and how bad each is.
var outboxLevels = []struct {
	percent  float64
	severity health.Severity
}{{95, health.Failing}, {80, health.Degraded}, {50, health.Notice}}

// level is the severity of a fill. Once reached, one holds until the outbox is 5 points below its own
// fill, so that a fill about a bound does not raise and clear the warning with every message.
func level(was *health.Severity, percent float64) *health.Severity {
	const slack = 5
	for _, l := range outboxLevels {
		if percent >= l.percent || was != nil && *was >= l.severity && percent >= l.percent-slack {
			return &l.severity
		}
	}
	return nil
}

// refusals are the totals of refused publishes at the looks of the last minute, oldest first.
type refusals []struct {
	at    time.Time
	total uint64
}

// lately is how many publishes were refused in the last minute; total is their number since the start.
func (r *refusals) lately(now time.Time, total uint64) uint64 {
	*r = append(*r, struct {
		at    time.Time
		total uint64
	}{now, total})
	for len(*r) > 1 && now.Sub((*r)[1].at) >= time.Minute {
		*r = slices.Delete(*r, 0, 1)
	}
	return total - (*r)[0].total
}

// unserved names what an IoT Hub upstream does not serve. It looks at a registry once.
func (w *Watch) unserved(registry *device.Topology) {
	if registry == w.of {
		return
	}
	w.of = registry
	var list []warnings.Name
	if registry != nil {
		for d := range registry.Devices() {
			if d.HubID == w.o.Config.Upstream.IoTHub.GatewayDevice.ID || d.Status != device.Active {
				continue
			}
			if d.Auth.Kind == device.AuthSelfSigned || d.Auth.Kind == device.AuthCA {
				list = append(list, warnings.Name(d.HubID))
			}
			for _, m := range d.Modules {
				list = append(list, warnings.Name(d.HubID+"/"+m.ID))
			}
		}
	}
	slices.Sort(list)
	warnings.Unserved(w.o.Health, list)
}
