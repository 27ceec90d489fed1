// Package warnings has the gateway's own warnings: for each, the stable name, the severity, the
// text, and what an operator does about it. The composition root tells it in plain values what
// happened, and every sentence that an operator reads in health is here. Only the warnings of
// listeners are in package listeners, which has one for each listener.
//
// A function that takes a condition clears the warning when the condition does not hold.
package warnings

import (
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/health"
)

// Reload names the problems of a changed configuration that was not taken over.
func Reload[P fmt.Stringer](t *health.Tracker, problems []P) {
	t.Set(len(problems) > 0, "reload", health.Degraded,
		health.Listed("problems in the changed configuration, which was not taken over", problems),
		"correct them (gatehoused -check names them all) and reload again")
}

// RestartNeeded names what a reload could not take over.
func RestartNeeded(t *health.Tracker, held []string) {
	t.Set(len(held) > 0, "restart-needed", health.Notice,
		"changed in the configuration and not in force: "+strings.Join(held, ", "),
		"systemctl restart gatehoused; other settings are in force")
}

// SelfTest is about the watchdog's round trip through the broker.
func SelfTest(t *health.Tracker, err error) {
	t.Set(err != nil, "self-test", health.Failing,
		fmt.Sprint("the round trip through the broker failed: ", err),
		"journalctl -u gatehoused; systemd restarts the daemon when this lasts")
}

// AcceptFailed says that accept has failed n times since the last look. Without it only the clients would notice.
func AcceptFailed(t *health.Tracker, n uint64) {
	t.Set(n > 0, "accept-failed", health.Degraded,
		fmt.Sprintf("%d attempts to accept a connection failed lately, most often for want of file descriptors", n),
		"journalctl -u gatehoused names the cause; raise LimitNOFILE= of the unit, or the listener's limits are too high for it")
}

// DoorCrowded names the listeners at which so many connections show nothing that some are closed to make room for others.
func DoorCrowded[C fmt.Stringer](t *health.Tracker, crowds []C) {
	t.Set(len(crowds) > 0, "door-crowded", health.Degraded,
		health.Listed("listeners close connections that show nothing, to make room for others", crowds),
		"find out what these addresses run, or block them in the firewall; if they are many good clients that return at once, "+
			"it ends by itself, or raise limits.maxUnauthenticated")
}

// SHA1 says that client certificates are accepted by their SHA-1 thumbprints.
func SHA1(t *health.Tracker, allowed bool) {
	t.Set(allowed, "x509-sha1", health.Degraded,
		"certificates that are registered by nothing but a SHA-1 thumbprint are believed",
		"register SHA-256 thumbprints, then remove identity.x509.allowSHA1")
}

// RootKeyPackage says that the configured package is older than one seen before.
func RootKeyPackage(t *health.Tracker, older bool) {
	t.Set(older, "root-key-package", health.Degraded,
		"deviceUpdate.rootKeyPackage is older than the package seen last, which stays in use",
		"put the newest package there; what a later one disabled stays disabled")
}
