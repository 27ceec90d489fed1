package downlink

import (
	"context"
	"net/http"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

const (
	// maxMethods is how many direct methods may be under way. A hub that calls
	// more gets 429, so that it cannot fill the gateway's memory.
	maxMethods = 64
	// methodTime bounds the wait for a device's answer.
	methodTime = 30 * time.Second
)

// method passes a direct method on, if As may act on the device, and answers the hub.
func (l *Link) method(id string, m iothub.Method) {
	select {
	case l.methods <- struct{}{}:
	default:
		l.respond(id, m, http.StatusTooManyRequests, nil)
		return
	}
	l.working.Go(func() {
		defer func() { <-l.methods }()
		ctx, cancel := context.WithTimeout(l.ctx, methodTime)
		defer cancel()
		status, body := http.StatusForbidden, []byte(nil)
		if l.mayInvoke(id, m.Name) {
			status, body = l.o.Twins().Method(ctx, id, m.Name, m.Payload)
		}
		l.respond(id, m, status, body)
	})
}

// mayInvoke decides a direct method by the right to send the device a
// cloud-to-device message (docs/spec/semantics.md 3), and audits the decision.
func (l *Link) mayInvoke(id, method string) bool {
	v := l.o.May(&message.Message{Topic: "devices/" + id + "/messages/devicebound/", Publisher: l.o.As})
	l.o.Audit(message.AuditRecord{
		Time:      l.o.Now(),
		Event:     "method",
		Allowed:   v.Allowed,
		Principal: l.o.As.Key,
		ClientID:  id,
		Topic:     method,
		Reason:    v.Reason,
		Detail:    v.Detail,
		Count:     1,
	})
	return v.Allowed
}

func (l *Link) respond(id string, m iothub.Method, status int, body []byte) {
	s, err := l.hub.Session(id)
	if err == nil {
		err = s.Respond(m.Request, status, body)
	}
	if err != nil {
		l.o.Log.Info("a method's answer did not reach the hub", "device", id, "method", m.Name, "err", err)
	}
}
