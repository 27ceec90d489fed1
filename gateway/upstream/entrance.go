package upstream

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Entrance gives the broker's messages to the outbox. It is needed because the outbox is
// built after the broker; both are built before either runs.
type Entrance struct {
	Outbox func() *Outbox   // nil while, or if, there is none
	Now    func() time.Time // the trusted time (package offline)
	// Acked is told how long it took until an offered message was durable.
	Acked func(time.Duration)
}

// Offer is Outbox.Offer; false also if nothing is upstream.
func (e Entrance) Offer(m *message.Message, wait *message.Wait, done func(error)) bool {
	outbox := e.Outbox()
	if outbox == nil {
		return false
	}
	m = stamped(m, e.Now())
	if done == nil {
		return outbox.Offer(m, nil, nil)
	}
	offered := time.Now()
	return outbox.Offer(m, wait, func(err error) {
		if err == nil {
			e.Acked(time.Since(offered))
		}
		done(err)
	})
}

// stamped returns m with Accepted and Expires by the trusted time now, if the broker's
// wall clock is a minute or more away from it. After a restart a stored message ages from
// Accepted, so a wrong clock would expire it too early or too late.
func stamped(m *message.Message, now time.Time) *message.Message {
	wrong := now.Sub(m.Accepted)
	if m.Accepted.IsZero() || wrong.Abs() < time.Minute {
		return m
	}
	c := *m
	c.Accepted = now
	if !c.Expires.IsZero() {
		c.Expires = c.Expires.Add(wrong)
	}
	return &c
}
