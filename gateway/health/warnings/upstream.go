package warnings

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/health"
)

// Link is what is known of the link upstream when it is down.
type Link struct {
	Target  string    // where it leads
	Detail  string    // why the last attempt failed; "" if that is not known
	Since   time.Time // since when it is down
	Waiting int       // messages that wait for it
}

// UpstreamDown says that the link upstream has been down for longer than health.upstreamDown.
func UpstreamDown(t *health.Tracker, raised bool, l *Link) {
	text := fmt.Sprintf("the link upstream to %s has been down since %s", l.Target, l.Since.UTC().Format(time.RFC3339))
	if l.Detail != "" {
		text += " (" + l.Detail + ")"
	}
	if l.Waiting > 0 {
		text += fmt.Sprintf("; %d messages wait", l.Waiting)
	}
	t.Set(raised, "upstream-down", health.Degraded, text,
		"gatehousectl doctor looks at name, port, certificate and echo of it; messages are kept meanwhile, as many as outbox.maxBytes allows")
}

// Fill is how much of the outbox is in use.
type Fill struct {
	Percent  float64 // of outbox.maxBytes or outbox.maxMessages, whichever is fuller
	Bytes    int64
	Messages int
}

// OutboxFull says how full the outbox is. severity nil clears the warning.
func OutboxFull(t *health.Tracker, severity *health.Severity, f Fill) {
	if severity == nil {
		t.Clear("outbox-full")
		return
	}
	t.Raise("outbox-full", *severity,
		fmt.Sprintf("the outbox is %.0f %% full: %d messages, %d MiB; when it is full, outbox.overflow says what is refused or dropped",
			f.Percent, f.Messages, f.Bytes>>20),
		"mend the link upstream (gatehousectl doctor), or raise outbox.maxBytes and outbox.maxMessages; "+
			"gatehousectl outbox list shows whose messages wait")
}

// OutboxOldest says that the oldest message has waited for longer than health.oldestWaiting.
func OutboxOldest(t *health.Tracker, raised bool, accepted time.Time, waiting int) {
	t.Set(raised, "outbox-oldest", health.Degraded,
		fmt.Sprintf("the oldest of %d messages has waited for upstream since %s", waiting, accepted.UTC().Format(time.RFC3339)),
		"gatehousectl outbox list shows of which device; if the link is up, its own connection to the hub may fail (journalctl -u gatehoused), "+
			"or an operator paused it (gatehousectl outbox resume)")
}

// PublishersHeld says that publishes are refused or wait, because the outbox has no capacity.
func PublishersHeld(t *health.Tracker, refused uint64, withheld int) {
	t.Set(refused > 0 || withheld > 0, "publishers-throttled", health.Degraded,
		fmt.Sprintf("the outbox has no capacity: %d publishes were refused in the last minute, %d wait for their acknowledgement",
			refused, withheld),
		"mend the link upstream, or raise the limits of outbox (outbox.perDeviceBytes for a single device); "+
			"gatehousectl outbox list shows whose messages wait")
}

// UpstreamThrottled says that the IoT Hub has answered 429 (too many requests) lately.
func UpstreamThrottled(t *health.Tracker, raised bool, last time.Time) {
	t.Set(raised, "upstream-throttled", health.Degraded,
		"the IoT Hub throttles this gateway (status 429), last at "+last.UTC().Format(time.RFC3339),
		"look at the hub's metrics for throttling errors; add units to it, or send less: messages are kept meanwhile")
}

// Unserved names the devices and modules that an IoT Hub upstream gives no connection of their own.
func Unserved(t *health.Tracker, list []Name) {
	t.Set(len(list) > 0, "upstream-unserved", health.Notice,
		health.Listed("devices with X.509 and modules have no connection of their own to the IoT Hub: its twins, methods and messages "+
			"do not reach them, and their telemetry arrives as the gateway's, with gatehouse-origin", list),
		"register a symmetric key (SAS) for a device that needs more; a module cannot be served upstream")
}

// Name is a name as a fmt.Stringer.
type Name string

func (n Name) String() string { return string(n) }

// Flapping names the clients that connect again and again.
func Flapping[S fmt.Stringer](t *health.Tracker, clients []S) {
	t.Set(len(clients) > 0, "client-flapping", health.Degraded,
		health.Listed("clients connect again and again", clients),
		"look at why the client leaves: gatehousectl audit --principal KEY, and the client's own log; "+
			"often it breaks a limit, or its keep-alive is longer than a router between remembers a connection")
}
