package inspect

import (
	"cmp"
	"context"
	"slices"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// OutboxDesk implements admin.Outbox by the gateway's outbox.
type OutboxDesk struct{ Box *upstream.Outbox }

func selector(q admin.OutboxQuery) upstream.Selector {
	s := upstream.Selector{Device: q.Device, Route: q.Route, Seq: q.Seq}
	s.All = s.Empty()
	return s
}

// List implements admin.Outbox.
func (d OutboxDesk) List(_ context.Context, q admin.OutboxQuery) (admin.OutboxReport, error) {
	routes, devices := map[string]admin.OutboxPile{}, map[string]admin.OutboxPile{}
	add := func(to map[string]admin.OutboxPile, name string, p *upstream.Pile) {
		sum := to[name]
		sum.Name = name
		sum.Messages += p.Messages
		sum.Bytes += p.Bytes
		sum.Paused = p.Paused && (sum.Paused || sum.Messages == p.Messages) // a route is paused if all its devices are
		if sum.Oldest.IsZero() || !p.Oldest.IsZero() && p.Oldest.Before(sum.Oldest) {
			sum.Oldest = p.Oldest
		}
		to[name] = sum
	}
	for _, p := range d.Box.List(selector(q)) {
		add(routes, p.Route, &p)
		add(devices, p.Device, &p)
	}
	s := d.Box.Stats()
	r := admin.OutboxReport{Routes: piles(routes), Devices: piles(devices), Parked: s.Parked, Paused: s.Paused}
	if q.Limit > 0 && len(r.Devices) > q.Limit {
		r.Devices = r.Devices[:q.Limit]
	}
	return r, nil
}

func piles(sums map[string]admin.OutboxPile) []admin.OutboxPile {
	list := make([]admin.OutboxPile, 0, len(sums))
	for _, p := range sums {
		list = append(list, p)
	}
	slices.SortFunc(list, func(x, y admin.OutboxPile) int {
		return cmp.Or(cmp.Compare(y.Bytes, x.Bytes), cmp.Compare(x.Name, y.Name))
	})
	return list
}

// Peek implements admin.Outbox.
func (d OutboxDesk) Peek(_ context.Context, q admin.OutboxQuery) (list []admin.OutboxMessage, err error) {
	for _, m := range d.Box.Peek(selector(q), q.Limit) {
		list = append(list, admin.OutboxMessage{
			Seq:      m.Seq,
			Device:   m.Device,
			Route:    m.Route,
			Topic:    m.Topic,
			Bytes:    m.Bytes,
			Accepted: m.Accepted,
			Sent:     m.Sent,
		})
	}
	return list, nil
}

// Parked implements admin.Outbox.
func (d OutboxDesk) Parked(_ context.Context, q admin.OutboxQuery) (list []admin.OutboxMessage, err error) {
	for _, p := range d.Box.ListParked(selector(q)) {
		if len(list) == q.Limit {
			break
		}
		list = append(list, admin.OutboxMessage{
			Seq:      p.Seq,
			Device:   p.Device,
			Route:    p.Route,
			Topic:    p.Topic,
			Bytes:    p.Bytes,
			Accepted: p.Accepted,
			ParkedAt: p.At,
			Reason:   p.Reason,
		})
	}
	return list, nil
}

// Act implements admin.Outbox.
func (d OutboxDesk) Act(_ context.Context, r admin.OutboxRequest) (out admin.OutboxResult, err error) {
	s := upstream.Selector{Device: r.Device, Route: r.Route, Seq: r.Seq, All: r.All}
	switch r.Action {
	case admin.OutboxRetry:
		out.Messages = d.Box.Retry(s)
	case admin.OutboxPurge:
		if r.Parked {
			out.Messages = d.Box.PurgeParked(s)
		} else {
			out.Messages = d.Box.Purge(s)
		}
	case admin.OutboxPause:
		d.Box.Pause(s)
		out.Messages = waiting(d.Box, s)
	case admin.OutboxResume:
		d.Box.Resume(s)
		out.Messages = waiting(d.Box, s)
	case admin.OutboxDrain:
		d.Box.Drain()
		out.Messages = d.Box.Stats().Messages
	}
	return out, nil
}

func waiting(box *upstream.Outbox, s upstream.Selector) (n int) {
	for _, p := range box.List(s) {
		n += p.Messages
	}
	return n
}
