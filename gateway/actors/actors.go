// Package actors runs the long-lived parts of a program: it starts them in order, stops
// them in reverse order, and ends all of them when one ends.
package actors

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"
)

// Actor is a long-lived part, whose Run returns when its context ends. An actor that
// returns earlier, with or without an error, stops the program: otherwise it would go on
// without that part, and nobody would notice.
type Actor struct {
	Name string
	Run  func(context.Context) error
	// Ready, if set, is closed once the actor serves. The next actor is started then.
	Ready <-chan struct{}
}

// stopWithin bounds how long one actor may take to end.
const stopWithin = 15 * time.Second

// errEarly is the error of an actor that ended although nobody asked it to.
var errEarly = errors.New("ended by itself")

type ended struct {
	index int
	err   error
}

// Run starts the actors in order. When ctx ends, or an actor ends, it stops them in
// reverse order, one at a time: an actor may use those before it in the list until its own
// end. up is called once all are ready.
func Run(ctx context.Context, log *slog.Logger, actors []Actor, up func()) error {
	done := make(chan ended, len(actors))
	cancels := make([]context.CancelFunc, 0, len(actors))
	waits := make([]chan struct{}, 0, len(actors))
	var first error
	note := func(e ended) {
		if first == nil {
			first = fmt.Errorf("%s: %w", actors[e.index].Name, cmpErr(e.err))
		}
	}

start:
	for i, a := range actors {
		// The context does not end with ctx, because each actor is stopped in its turn.
		actx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		gone := make(chan struct{})
		cancels, waits = append(cancels, cancel), append(waits, gone)
		go func() {
			err := a.Run(actx)
			if actx.Err() == nil {
				done <- ended{i, err}
			} else if err != nil && !errors.Is(err, context.Canceled) {
				log.Warn("part did not end cleanly", "part", a.Name, "err", err)
			}
			close(gone)
		}()
		if a.Ready == nil {
			continue
		}
		select {
		case <-a.Ready:
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
			log.Error("part did not stop in time", "part", actors[i].Name, "within", stopWithin)
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
