package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watchdog runs the self-test and pings systemd after each that succeeds, at
// a third of the interval that the unit asks for (WatchdogSec=). Without a
// watchdog in the unit the self-test runs all the same, every Idle, so that
// health knows.
type Watchdog struct {
	notifier *Notifier
	test     func(context.Context) error
	result   func(error)
	every    time.Duration
	ping     bool
}

// NewWatchdog reads WATCHDOG_USEC and WATCHDOG_PID. test is a real round trip
// through the daemon; it must respect its context. result hears each outcome
// and may be nil. idle is the rhythm without a watchdog.
func NewWatchdog(n *Notifier, idle time.Duration, test func(context.Context) error, result func(error)) (*Watchdog, error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("WATCHDOG_USEC: %w", err)
	}
	if result == nil {
		result = func(error) {}
	}
	w := &Watchdog{notifier: n, test: test, result: result, every: idle}
	if interval > 0 {
		w.every, w.ping = interval/3, true
	}
	return w, nil
}

// Run tests and pings until ctx ends, and returns nil. A test may take as
// long as the distance between two pings; one that hangs counts as failed, and
// no second one is started while it does: a hanging daemon is not given more
// work, and systemd ends it.
func (w *Watchdog) Run(ctx context.Context) error {
	tick := time.NewTicker(w.every)
	defer tick.Stop()
	for {
		w.once(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

func (w *Watchdog) once(ctx context.Context) {
	deadline, cancel := context.WithTimeout(ctx, w.every)
	defer cancel()
	err := w.test(deadline)
	if err == nil {
		err = deadline.Err() // too late is as bad
	}
	if ctx.Err() != nil {
		return // the end of the daemon is no failure of it
	}
	if err == nil && w.ping {
		w.notifier.send(daemon.SdNotifyWatchdog)
	}
	w.result(err)
}
