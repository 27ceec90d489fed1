package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/session"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// overflowEvery is how often the sessions that lose deliveries are looked at. An episode can end
// without a delivery of its own session, when other queues become emptier.
const overflowEvery = 10 * time.Second

// endOverfull ends a session whose queue is full: by the overflow policy EndSession, or because a
// client whose session ends with its connection has been too slow for too long.
func (b *Broker) endOverfull(s *session.Session) {
	b.o.Auditor.Audit(message.AuditRecord{
		Time:      time.Now(),
		Event:     "overflow",
		Principal: s.Owner().Key,
		ClientID:  s.ClientID,
		Allowed:   true,
		Reason:    "session-ended",
		Detail:    "its queue is full: the session ends",
		Count:     1,
	})
	hangUp(s, cause{code: message.QuotaExceeded, reason: "session queue full", keepWill: true})
	b.endIf(s, time.Time{})
}

// overflowed records that a session begins to lose deliveries, or has ceased to. The
// mu of the session is held.
func (b *Broker) overflowed(e session.Episode) {
	r := message.AuditRecord{
		Time:      time.Now(),
		Event:     "overflow",
		Principal: e.Owner,
		ClientID:  e.Session.ClientID,
		Allowed:   true,
		Reason:    "session-overflow",
		Detail:    "its queue is full, or the principal's or all queues are: it loses messages",
		Count:     1,
	}
	if e.Over {
		r.Reason = "session-overflow-over"
		r.Detail = fmt.Sprintf("it lost %d messages since %s", e.Lost, e.Since.UTC().Format(time.RFC3339))
	}
	b.o.Auditor.Audit(r)
	select {
	case b.losing <- struct{}{}:
	default: // tellOverflows has not looked yet
	}
}

// tellOverflows tells Options.Overflowing until ctx ends.
func (b *Broker) tellOverflows(ctx context.Context) {
	tick := time.NewTicker(overflowEvery)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-b.losing:
		case <-tick.C:
			if !told {
				continue
			}
		}
		list := b.Overflows()
		told = len(list) > 0
		if b.o.Overflowing != nil {
			b.o.Overflowing(list)
		}
	}
}

// Overflows lists the sessions that lose deliveries for want of capacity, in order of their key.
func (b *Broker) Overflows() []SessionOverflow {
	var list []SessionOverflow
	for _, e := range b.store.Losing() {
		list = append(list, SessionOverflow{
			Key:       e.Session.Key,
			Principal: e.Owner,
			ClientID:  e.Session.ClientID,
			Connected: !e.Session.Owned(nil),
			Since:     e.Since,
			Lost:      e.Lost,
		})
	}
	return list
}
