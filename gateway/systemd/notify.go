// Package systemd is how the daemon talks to the service manager: readiness and status, the
// watchdog, sockets passed in, and the journal.
//
// Without systemd (none of NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS and JOURNAL_STREAM in the
// environment) every part does nothing and reports no error.
//
// The watchdog is pinged only after a self-test through the whole daemon has succeeded, so that
// a process that runs but no longer serves is restarted. The constructors read the environment
// and start nothing.
package systemd

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"

	"github.com/gatehouse/gatehouse/gateway/printable"
)

// Notifier tells systemd the state of the service (sd_notify(3)). Its methods may be called
// from any goroutine and return no error: a message that cannot be sent is logged and otherwise
// ignored.
type Notifier struct {
	log  *slog.Logger
	mute bool

	mu       sync.Mutex // held while a status is sent, so that none follows Stopping
	stopping bool       // guarded by mu
	told     string     // the status that was sent last; guarded by mu
}

// NewNotifier returns a notifier.
func NewNotifier(log *slog.Logger) *Notifier { return &Notifier{log: log} }

// Muted returns a notifier that sends nothing, for a program that is not the service although
// it inherits the service's environment.
func Muted() *Notifier { return &Notifier{mute: true} }

// Ready says that the service serves, after the start or after Reloading.
func (n *Notifier) Ready(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = status
	n.send(daemon.SdNotifyReady, statusLine(status))
}

// Status sets the line that systemctl status shows. After Stopping it does nothing.
func (n *Notifier) Status(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.status(status)
}

// status sends a status line. n.mu is held.
func (n *Notifier) status(line string) {
	if !n.stopping {
		n.told = line
		n.send(statusLine(line))
	}
}

// Follow keeps the line that systemctl status shows equal to line(), until ctx
// ends: it asks every second, and sends a line that differs from what systemd was told last, by whomever.
// Comparing it with what Follow itself sent last would not do: a line that the caller of Ready made
// before the latest change, and that reaches systemd after it, would stay there until the next change.
func (n *Notifier) Follow(ctx context.Context, line func() string) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		now := line()
		n.mu.Lock()
		if now != n.told {
			n.status(now)
		}
		n.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Reloading says that a reload has begun; Ready must follow. The monotonic
// time lets Type=notify-reload (systemd 253) tell this reload from the last.
func (n *Notifier) Reloading() { n.send(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec()) }

// Stopping says that the service is going down.
func (n *Notifier) Stopping(status string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopping = true
	n.send(daemon.SdNotifyStopping, statusLine(status))
}

func (n *Notifier) send(lines ...string) {
	if n.mute {
		return
	}
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		n.log.Warn("systemd was not told", "message", lines[0], "err", err)
	}
}

// statusLine has no line breaks, so that the text cannot add further assignments to the message, and
// nothing that the terminal of whoever reads systemctl status would obey.
func statusLine(s string) string {
	return "STATUS=" + printable.Text(strings.ReplaceAll(s, "\n", " "))
}
