package registry

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/backoff"
)

// outcome is the result of one attempt to send a create.
type outcome struct {
	final  bool // answer is final, and the create leaves the queue
	answer answer
	reason string // for the audit
	detail string

	why    error // if not final: why the create still waits
	nobody bool  // if not final: no other create would fare better, so none is tried in this round
}

// sendCreates sends the queued creates to the cloud until ctx ends.
func (s *Service) sendCreates(ctx context.Context) {
	back := backoff.Backoff{Min: s.o.RetryMin, Max: s.o.RetryMax}
	for {
		left, sent, why := s.round(ctx)
		if ctx.Err() != nil {
			return
		}
		s.o.Report(left, why)
		if sent || why == nil {
			back.Reset()
		}
		// While a create waits for the next attempt, new requests wait with it instead of starting an
		// attempt: the cloud has trouble, and must not get more work.
		next := s.work
		var retry <-chan time.Time
		if why != nil {
			next, retry = nil, back.After()
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-retry:
		}
	}
}

// round tries to send every queued create once, in order. A create that has to wait holds up the
// later creates of the same device, because their order is promised, but no others. why is nil if
// no create is left for a later round.
func (s *Service) round(ctx context.Context) (left int, sent bool, why error) {
	s.mu.Lock()
	todo := slices.Clone(s.queue)
	s.mu.Unlock()
	held := map[space.ID]bool{}
	nobody := false
	for _, e := range todo {
		if ctx.Err() != nil {
			return 0, sent, ctx.Err()
		}
		if nobody || held[e.Node] {
			continue
		}
		out := s.attempt(ctx, e)
		if out.final {
			s.finish(e, out)
			sent = true
			continue
		}
		why, nobody = out.why, out.nobody
		held[e.Node] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away = why != nil
	if s.away {
		for _, e := range s.queue {
			for i := range e.asks {
				if a := &e.asks[i]; !a.told {
					a.told = true
					session, request := a.session, a.request
					s.queueAnswer(func() { s.respond(session, request, waiting()) })
				}
			}
		}
	}
	return len(s.queue), sent, why
}

// attempt decides the right again, and asks the cloud if the principal still holds it.
func (s *Service) attempt(ctx context.Context, e *entry) outcome {
	may, t := s.decide(e)
	switch {
	case may.Allowed:
	case may.Hold:
		return outcome{why: fmt.Errorf("held: %s", may.Reason)}
	default:
		return outcome{final: true, answer: refusal(http.StatusForbidden, "Forbidden", "not authorised"), reason: may.Reason, detail: may.Detail}
	}
	d, ok := t.DeviceByHubID(e.Device)
	if !ok || d.ID != e.Node {
		return outcome{
			final:  true,
			answer: refusal(http.StatusNotFound, "NotFound", "no such device"),
			reason: "unknown-device",
			detail: "it was removed while the request waited",
		}
	}
	if n, ok := t.SensorByHardwareID(e.HardwareID); ok {
		if n.Device != d.ID {
			return conflict()
		}
		return created(n.ID.String(), http.StatusOK, e.HardwareID)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.Attempt)
	defer cancel()
	id, status, err := s.o.Creator.CreateSensor(ctx, Sensor{Device: d.ID, Space: d.Space, HardwareID: e.HardwareID, Attributes: e.Attributes})
	switch {
	case err != nil:
		// A server error (5xx other than 503) may be caused by this very request. Any other failure
		// means that the next request would fare no better.
		own := status >= http.StatusInternalServerError && status != http.StatusServiceUnavailable
		return outcome{why: err, nobody: !own}
	case status == http.StatusOK || status == http.StatusCreated:
		return created(id, status, e.HardwareID)
	case status == http.StatusConflict:
		return conflict()
	}
	return outcome{
		final:  true,
		answer: refusal(status, "Refused", "the management API refuses"),
		reason: "refused-by-cloud",
		detail: fmt.Sprintf("the management API answered %d", status),
	}
}

// decide decides the right again. It returns the registry on which the decision rests, so that the
// sensor is created in the space for which the right was decided, also if the device is moved
// meanwhile.
func (s *Service) decide(e *entry) (Decision, *device.Topology) {
	for {
		t := s.o.Topology()
		may := s.o.May(e.Who.principal(), e.Device, e.HardwareID)
		if s.o.Topology() == t {
			return may, t
		}
	}
}

func created(id string, status int, hardwareID string) outcome {
	body := struct {
		ID         string `json:"id"`
		HardwareID string `json:"hardwareId"`
	}{id, hardwareID}
	reason := "created"
	if status == http.StatusOK {
		reason = "exists"
	}
	return outcome{final: true, answer: answer{status, body}, reason: reason, detail: "sensor " + id}
}

func conflict() outcome {
	return outcome{
		final:  true,
		answer: refusal(http.StatusConflict, "Conflict", "another sensor has this hardware id"),
		reason: "hardware-id-taken",
	}
}

// finish removes a create from the disk and the queue, audits it and answers its requesters. If it
// cannot be removed from the disk, it is sent again after the next start, which does no harm.
func (s *Service) finish(e *entry, out outcome) {
	gone := make(chan error, 1)
	s.o.Store.Delete(keyOf(e.number), func(err error) { gone <- err })
	if err := <-gone; err != nil {
		s.o.Log.Warn("a finished create stays in the store and will be sent again", "device", e.Device, "err", err)
	}
	ok := out.answer.Status < 300
	s.o.Audit(s.record(e.Who.Key, e.topic(), ok, out.reason, out.detail))
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.queue, e); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
	}
	s.release(e)
	for _, a := range e.asks {
		s.queueAnswer(func() { s.respond(a.session, a.request, out.answer) })
	}
}
