package warnings

import (
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/health"
)

// Quarantined says that a store was damaged, and was set aside, or that damaged files of it were. movedTo is
// "" if nothing is left of them.
func Quarantined(t *health.Tracker, store, reason, movedTo string) {
	text := fmt.Sprintf("the %s store was damaged (%s)", store, reason)
	if movedTo != "" {
		text += " and was set aside at " + movedTo
	}
	t.Raise("store-quarantined-"+store, health.Degraded, text,
		"look at the disk's health; remove the directory when it is no longer wanted")
}

// StoreCramped says that the disk has too little free space for compaction.
func StoreCramped(t *health.Tracker, cramped bool) {
	t.Set(cramped, "store-cramped", health.Degraded,
		"the disk has too little free space to compact the store: it works, and grows",
		"free space on the state directory, about as much as the store occupies; compaction goes on by itself")
}

// StoreRefuses says that the message store accepts no new records.
func StoreRefuses(t *health.Tracker, err error) {
	t.Set(err != nil, "store-refuses", health.Failing, fmt.Sprint("the message store takes nothing: ", err),
		"free space on the state directory; it recovers by itself")
}

// AuditFile says that the audit file cannot be written.
func AuditFile(t *health.Tracker, err error) {
	t.Set(err != nil, "audit-file", health.Degraded, fmt.Sprint("the audit file cannot be written: ", err),
		"free space or mend the permissions of audit.file; records still go to the log")
}

// SessionOverflow names the sessions that lose messages, for as long as any does.
func SessionOverflow[S fmt.Stringer](t *health.Tracker, sessions []S) {
	t.Set(len(sessions) > 0, "session-overflow", health.Degraded,
		health.Listed("sessions have full queues and lose messages", sessions),
		"let its client connect and read; a session that nobody needs ends when its client connects once with a clean start, "+
			"or after sessions.maxExpiry; gatehousectl sessions shows what each lost")
}

// ClientIDContested names the clients that take one client id from each other, for as long as any do.
func ClientIDContested[C fmt.Stringer](t *health.Tracker, contests []C) {
	t.Set(len(contests) > 0, "client-id-contested", health.Degraded,
		health.Listed("client ids are used by two clients at once, which take the session from each other", contests),
		"give each installation credentials and a client id of its own, or stop one of the two: a newcomer waits up to 10 s "+
			"while the other answers; from one address only, it is one client that connects again without closing")
}

// UpstreamFiles says why no connection upstream can be made yet.
func UpstreamFiles(t *health.Tracker, err error) {
	t.Set(err != nil, "upstream-files", health.Degraded, fmt.Sprint("the link upstream waits for its files: ", err),
		"put the file there: it is read again every few seconds, and messages are kept meanwhile; "+
			"what systemd hands over (LoadCredential=) is copied at a start only: systemctl restart gatehoused")
}

// Parked says how many messages are parked or were dropped from the shelf, and whether sending is paused.
func Parked(t *health.Tracker, parked int, dropped uint64, paused bool) {
	t.Set(parked > 0, "outbox-parked", health.Degraded,
		fmt.Sprintf("upstream ends the connection on %d messages, which are set aside; "+
			"%d others were dropped because too many are", parked, dropped),
		"gatehousectl outbox parked lists them with the reason; outbox retry or outbox purge --parked ends it")
	t.Set(paused, "outbox-paused", health.Degraded,
		"an operator keeps messages from going upstream", "gatehousectl outbox resume --all")
}
