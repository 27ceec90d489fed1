package systemd

import (
	"context"
	"fmt"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Watchdog runs the self-test at a third of the interval that the unit asks for (WatchdogSec=),
// and pings systemd after each test that succeeds. Without a watchdog in the unit the test
// still runs, at the interval idle, so that health learns its result.
type Watchdog struct {
	notifier *Notifier
	test     func(context.Context) error
	result   func(error)
	every    time.Duration
	ping     bool
}

// NewWatchdog reads WATCHDOG_USEC and WATCHDOG_PID. test is a real round trip through the
// daemon and must return when its context ends. result is called with the outcome of each test
// and may be nil. idle is the interval between tests when the unit has no watchdog.
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

// Run tests and pings until ctx ends, and returns nil. A test may take as long as the time
// between two pings. One that takes longer counts as failed, and no second test is started
// while it runs; if it keeps hanging, systemd restarts the daemon.
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
		err = deadline.Err() // a test that succeeds too late counts as failed
	}
	if ctx.Err() != nil {
		return // the daemon is stopping; that is not a failed test
	}
	if err == nil && w.ping {
		w.notifier.send(daemon.SdNotifyWatchdog)
	}
	w.result(err)
}
