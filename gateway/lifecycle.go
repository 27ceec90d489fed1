package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// An actor is a long-lived part: run returns when its context ends. An actor
// that returns earlier, with or without an error, stops the daemon, because
// nobody would notice that a part is missing.
type actor struct {
	name string
	run  func(context.Context) error
	// ready, if set, is closed once the actor serves; the next one starts then.
	ready <-chan struct{}
}

// stopWithin bounds how long one actor may take to end.
const stopWithin = 15 * time.Second

// errEarly is the error of an actor that ended although nobody asked it to.
var errEarly = errors.New("ended by itself")

type ended struct {
	index int
	err   error
}

// runAll starts the actors in order and, when ctx ends or one of them does,
// stops them in reverse order, one at a time: what is later in the list may
// use what is earlier until its own end. up is called once all are ready.
func runAll(ctx context.Context, log *slog.Logger, actors []actor, up func()) error {
	done := make(chan ended, len(actors))
	cancels := make([]context.CancelFunc, 0, len(actors))
	waits := make([]chan struct{}, 0, len(actors))
	var first error
	note := func(e ended) {
		if first == nil {
			first = fmt.Errorf("%s: %w", actors[e.index].name, cmpErr(e.err))
		}
	}

start:
	for i, a := range actors {
		// The context is not ctx's child: each actor ends when its turn has come.
		actx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		gone := make(chan struct{})
		cancels, waits = append(cancels, cancel), append(waits, gone)
		go func() {
			err := a.run(actx)
			if actx.Err() == nil {
				done <- ended{i, err}
			} else if err != nil && !errors.Is(err, context.Canceled) {
				log.Warn("part did not end cleanly", "part", a.name, "err", err)
			}
			close(gone)
		}()
		if a.ready == nil {
			continue
		}
		select {
		case <-a.ready:
		case e := <-done:
			note(e)
			break start
		case <-ctx.Done():
			break start
		}
	}
	if first == nil && ctx.Err() == nil {
		up()
		select {
		case <-ctx.Done():
		case e := <-done:
			note(e)
		}
	}
	for i := len(cancels) - 1; i >= 0; i-- {
		cancels[i]()
		select {
		case <-waits[i]:
		case <-time.After(stopWithin):
			log.Error("part did not stop in time", "part", actors[i].name, "within", stopWithin)
		}
	}
	return first
}

func cmpErr(err error) error {
	if err == nil {
		return errEarly
	}
	return err
}

// run starts everything in order, and stops it in reverse order. The order and its reasons:
// the store first, because every other part writes to it, and last to stop,
// so that everything that was accepted is synced; audit beside it; the broker
// after the outbox, twins and guard that it hands messages to; the uplink and
// the sync after the broker, because what they bring is delivered through it;
// operators after them, so that what they see is running.
//
// The doors come last, for READY=1 to mean that somebody can be served: at least one
// socket is open, most often the admin socket, through which operators see what is
// wrong with the others. A listener whose port or certificate is missing holds nothing up, because
// a start that times out takes the whole building down for one door, and starting
// again mends none of them. systemctl status names it (STATUS=), so does health, and it is
// tried again for as long as the daemon runs. If no door at all can be opened, READY=1 is not
// sent: systemd ends the start after TimeoutStartSec= and begins another. The watchdog's self-test does not
// look at the doors, for the same reason: it asks whether the daemon works, not whether its port is free.
func (d *daemon) run(ctx context.Context) error {
	actors, err := d.actors()
	if err == nil {
		err = runAll(ctx, d.log, actors, func() {
			d.serving.Store(true)
			d.notify.Ready(d.statusLine())
			d.log.Info("gatehoused serves", "version", d.opts.Version, "site", d.cfg.Instance.Site.String(), "policy", d.policy.Index().Version().String(), "stage", d.staging.Stage().String())
			context.AfterFunc(ctx, func() { d.notify.Stopping("stopping: closing connections, syncing the store") })
		})
	}
	return errors.Join(err, d.close())
}

// actors are the long-lived parts, in the order of run.
func (d *daemon) actors() ([]actor, error) {
	actors := []actor{
		{name: "status line", run: func(ctx context.Context) error { return d.notify.Follow(ctx, d.statusLine) }},
		{name: "store", run: d.store.Run},
		{name: "audit", run: d.audit.Run},
		{name: "stages", run: func(ctx context.Context) error { return d.staging.Run(ctx, d.keepMark) }},
		{name: "keys", run: d.keys.Run},
		{name: "twins", run: d.twins.Run},
		{name: "registry", run: d.registrar.Run},
		{name: "broker", run: d.broker.Run, ready: d.broker.Ready()},
	}
	if d.outbox != nil {
		actors = append(actors, actor{name: "outbox", run: d.outbox.Run})
	}
	if d.uplink != nil {
		actors = append(actors, actor{name: "uplink", run: d.uplink.Run})
	}
	if d.replica != nil {
		actors = append(actors, actor{name: "sync", run: d.replica.Run})
	}
	operators, err := d.operatorActors()
	if err != nil {
		return nil, err
	}
	rest, err := d.restActors()
	if err != nil {
		return nil, err
	}
	actors = append(append(actors, rest...), operators...)
	if d.opts.Reload != nil {
		actors = append(actors, actor{name: "reload", run: d.reloader})
	}
	return append(actors, actor{name: "doors", run: d.doors.all.Run, ready: d.doors.all.Serving()}), nil
}

// close ends what build has opened, after all that ran over it has ended.
func (d *daemon) close() error {
	for _, end := range d.idle {
		end()
	}
	return errors.Join(d.doors.all.Close(), d.store.Close())
}
