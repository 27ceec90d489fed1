package upstream

import (
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// Entrance is how the broker hands messages to an outbox that is built after
// it: nothing runs before both are.
type Entrance struct {
	Outbox func() *Outbox   // nil while, or if, there is none
	Now    func() time.Time // the time that is believed
	// Acked is told how long a message took to be durable.
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

// stamped is m with the time that is believed here. The broker stamps by the
// wall clock, and what waits over a restart ages by the stamp.
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
