package gateway

import (
	"context"
	"errors"

	"github.com/gatehouse/gatehouse/gateway/actors"
	"github.com/gatehouse/gatehouse/gateway/memory"
)

// run starts everything in order, and stops it in reverse order. The order and its reasons:
// the store first, because every other part writes to it, and last to stop,
// so that everything that was accepted is synced; audit beside it; the broker
// after the outbox, twins and guard that it hands messages to; the uplink and
// the sync after the broker, because what they receive is delivered through it;
// the operators' socket and page after them, so that what they show is running.
//
// The doors (sockets, package listeners) are last, so that READY=1 means that somebody can be
// served: at least one socket is open, most often the admin socket, through which operators see
// what is wrong with the others. A listener whose port is taken or whose certificate is missing
// does not delay READY=1: otherwise the start would time out, and all listeners would be down
// because of one, although a new start helps none of them. STATUS= and health name the listener,
// and it is tried again for as long as the daemon runs. If no door at all can be opened, READY=1
// is not sent: systemd ends the start after TimeoutStartSec= and begins another. For the same
// reason the watchdog's self-test does not look at the doors: it asks whether the daemon works,
// not whether its port is free.
func (d *daemon) run(ctx context.Context) error {
	parts, err := d.parts()
	if err == nil {
		err = actors.Run(ctx, d.log, parts, func() {
			d.serving.Store(true)
			d.notify.Ready(d.statusLine())
			d.log.Info("gatehoused serves", "version", d.opts.Version, "site", d.cfg.Instance.Site.String(), "policy",
				d.policy.Index().Version().String(), "stage", d.staging.Stage().String())
			context.AfterFunc(ctx, func() { d.notify.Stopping("stopping: closing connections, syncing the store") })
		})
	}
	return errors.Join(err, d.close())
}

// parts lists the long-lived parts in the order in which run starts them.
func (d *daemon) parts() ([]actors.Actor, error) {
	parts := []actors.Actor{
		{Name: "status line", Run: func(ctx context.Context) error { return d.notify.Follow(ctx, d.statusLine) }},
		{Name: "store", Run: d.store.Run},
		{Name: "audit", Run: d.audit.Run},
		{Name: "memory", Run: memory.Trim},
		{Name: "stages", Run: func(ctx context.Context) error { return d.staging.Run(ctx, d.keeper.Keep) }},
		{Name: "keys", Run: d.keys.Run},
		{Name: "twins", Run: d.twins.Run},
		{Name: "registry", Run: d.registrar.Run},
		{Name: "broker", Run: d.broker.Run, Ready: d.broker.Ready()},
	}
	if d.outbox != nil {
		parts = append(parts, actors.Actor{Name: "outbox", Run: d.outbox.Run})
	}
	if d.uplink != nil {
		parts = append(parts, actors.Actor{Name: "uplink", Run: d.uplink.Run})
	}
	parts = append(parts, actors.Actor{Name: "health", Run: d.watch.Run})
	if d.replica != nil {
		parts = append(parts, actors.Actor{Name: "sync", Run: d.replica.Run})
		if r, ok := d.token.(interface {
			Run(ctx context.Context) error
		}); ok {
			parts = append(parts, actors.Actor{Name: "token", Run: r.Run})
		}
	}
	operators, err := d.operatorActors()
	if err != nil {
		return nil, err
	}
	rest, err := d.restActors()
	if err != nil {
		return nil, err
	}
	parts = append(append(parts, rest...), operators...)
	if d.opts.Reload != nil {
		parts = append(parts, actors.Actor{Name: "reload", Run: d.reloader})
	}
	return append(parts, actors.Actor{Name: "doors", Run: d.doors.all.Run, Ready: d.doors.all.Serving()}), nil
}

// close closes what build has opened. It is called when all parts have ended.
func (d *daemon) close() error {
	for _, end := range d.idle {
		end()
	}
	return errors.Join(d.doors.all.Close(), d.store.Close())
}
