// Package systemd is how the daemon talks to its supervisor: readiness and
// status, the watchdog, sockets passed in, and the journal.
//
// Without systemd (no NOTIFY_SOCKET, WATCHDOG_USEC, LISTEN_FDS,
// JOURNAL_STREAM in the environment) every part does nothing, successfully.
//
// The watchdog is pinged only after a self-test that went through the whole
// daemon has come back: a process that lives but no longer serves is
// restarted. Reading the environment happens in the constructors; nothing is
// started there.
package systemd

import (
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells systemd the state of the service (sd_notify(3)). Its methods
// may be called from any goroutine and never fail the caller: a supervisor
// that does not listen is logged once per message and otherwise ignored.
type Notifier struct {
	log  *slog.Logger
	mute bool
}

// NewNotifier returns a notifier.
func NewNotifier(log *slog.Logger) *Notifier { return &Notifier{log: log} }

// Muted returns a notifier that tells nobody anything: for whoever is no
// service, although the environment is that of one.
func Muted() *Notifier { return &Notifier{mute: true} }

// Ready says that the service serves (again, after Reloading).
func (n *Notifier) Ready(status string) { n.send(daemon.SdNotifyReady, statusLine(status)) }

// Status sets the line that systemctl status shows.
func (n *Notifier) Status(status string) { n.send(statusLine(status)) }

// Reloading says that a reload has begun; Ready must follow. The monotonic
// time lets Type=notify-reload (systemd 253) tell this reload from the last.
func (n *Notifier) Reloading() { n.send(daemon.SdNotifyReloading, daemon.SdNotifyMonotonicUsec()) }

// Stopping says that the service is going down.
func (n *Notifier) Stopping(status string) { n.send(daemon.SdNotifyStopping, statusLine(status)) }

func (n *Notifier) send(lines ...string) {
	if n.mute {
		return
	}
	if _, err := daemon.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		n.log.Warn("systemd was not told", "message", lines[0], "err", err)
	}
}

// statusLine keeps foreign text from becoming further assignments.
func statusLine(s string) string {
	return "STATUS=" + strings.Map(func(r rune) rune {
		if r < ' ' {
			return ' '
		}
		return r
	}, s)
}
