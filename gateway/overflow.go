package gateway

import (
	"fmt"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
)

// overflows are the policies of sessions.overflow, as the broker has them.
var overflows = map[string]broker.Overflow{
	config.OverflowDropOldest: broker.DropOldest,
	config.OverflowDropNewest: broker.DropNewest,
	config.OverflowDisconnect: broker.EndSession,
}

// losing names a session that loses messages for want of room.
type losing broker.SessionOverflow

func (l losing) String() string {
	state := "away"
	if l.Connected {
		state = "connected"
	}
	return fmt.Sprintf("client %q of %s (%s, %d lost)", l.ClientID, l.Principal, state, l.Lost)
}

// sessionsOverflow says in health which sessions lose messages, for as long as any does.
func (d *daemon) sessionsOverflow(list []broker.SessionOverflow) {
	named := make([]losing, len(list))
	for i := range list {
		named[i] = losing(list[i])
	}
	d.health.Set(len(list) > 0, "session-overflow", health.Degraded,
		health.Listed("sessions have no room and lose messages", named),
		"let its client connect and read; a session that nobody needs ends when its client connects once with a clean start, "+
			"or after sessions.maxExpiry; gatehousectl sessions shows what each lost")
}
