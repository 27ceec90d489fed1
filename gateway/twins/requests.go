package twins

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"strconv"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// HandleTwinGet answers a device's twin GET: from upstream, else from what is
// last known, always as the guard lets the device see it.
func (s *Service) HandleTwinGet(p *principal.Principal, m *message.Message, done func(code byte)) {
	id, rid := idOf(p), m.Via.Request
	if !s.do(id, func(ctx context.Context, i *identity) {
		s.get(ctx, i, rid)
	}) {
		done(message.QuotaExceeded)
		return
	}
	done(message.Success)
}

func (s *Service) get(ctx context.Context, i *identity, rid string) {
	if err := s.fetch(ctx, i); err != nil && !i.rec.Known && !i.rec.Local {
		s.o.Log.Info("twin is not known here and upstream does not answer", "device", i.id, "err", err)
		s.answer(i.id, 503, "$rid="+rid, nil)
		return
	}
	view, err := s.o.Guard.Desired(ctx, i.id, i.rec.desired(), true)
	if err != nil {
		s.o.Log.Error("deployment guard: the last good desired state is shown", "device", i.id, "err", err)
	}
	doc := twin.Document{Desired: view.Desired, Reported: i.rec.reportedShown()}
	next := i.rec
	next.Shown = view.Desired.Value
	s.addReport(&next, view)
	if err := s.save(i, next); err != nil {
		// What is shown but not kept is sent again as a patch later: harmless.
		s.o.Log.Error("twin record not written", "device", i.id, "err", err)
	}
	s.answer(i.id, 200, "$rid="+rid, doc.Body())
	s.flush(ctx, i)
}

// HandleReported queues a device's reported patch durably, acknowledges it,
// and sends it on as soon as upstream can be reached.
func (s *Service) HandleReported(p *principal.Principal, m *message.Message, done func(code byte)) {
	id, rid, body := idOf(p), m.Via.Request, m.Payload
	if !s.do(id, func(ctx context.Context, i *identity) {
		s.reported(ctx, i, rid, body, done)
	}) {
		done(message.QuotaExceeded)
	}
}

func (s *Service) reported(ctx context.Context, i *identity, rid string, body []byte, done func(code byte)) {
	patch, err := twin.ParsePatch(body)
	if err == nil {
		err = checkReported(i.rec.reportedNow().Value, patch.Value)
	}
	if err != nil {
		done(message.Success) // the transport did its part; the request is answered
		s.answer(i.id, 400, "$rid="+rid, nil)
		return
	}
	if i.rec.full() {
		done(message.QuotaExceeded)
		s.answer(i.id, 429, "$rid="+rid, nil)
		s.flush(ctx, i)
		return
	}
	reports, err := s.o.Guard.Reported(ctx, i.id, patch.Value)
	next := i.rec
	if err == nil {
		next.heard(patch.Value)
		s.place(&next, reports)
		err = s.save(i, next)
	}
	if err != nil {
		s.o.Log.Error("reported patch not taken", "device", i.id, "err", err)
		done(message.UnspecifiedError)
		s.answer(i.id, 500, "$rid="+rid, nil)
		return
	}
	done(message.Success)
	s.answer(i.id, 204, "$rid="+rid+"&$version="+strconv.FormatInt(i.rec.reportedNow().Version, 10), nil)
	s.flush(ctx, i)
}

// checkReported keeps the hub's bounds (docs/spec/device-update.md 5.4), so that
// nothing is promised that the hub will not take. What makes a twin smaller always passes.
func checkReported(now, patch strictjson.Value) error {
	if err := twin.Check(patch, twin.MaxReported); err != nil {
		return err
	}
	merged := strictjson.Merge(now, patch)
	if n := len(merged.Bytes()); n > twin.MaxReported && n >= len(now.Bytes()) {
		return twin.ErrDocument
	}
	return nil
}

// place puts a judged patch where it belongs: a local twin takes it at once,
// upstream gets it later, and what may not be read waits apart.
func (s *Service) place(r *twinState, reports update.Reports) {
	local := r.Local || s.o.Upstream == nil
	if overlaps(r.Withheld, reports.Now) {
		// What was withheld is older than what may be read now, and must not overwrite it.
		r.Queue = append(append([]strictjson.Value(nil), r.Queue...), r.Withheld...)
		r.Withheld = nil
	}
	for _, part := range []struct {
		patch strictjson.Value
		queue *[]strictjson.Value
	}{{reports.Now, &r.Queue}, {reports.Later, &r.Withheld}} {
		switch {
		case part.patch.Kind() != strictjson.Object:
		case local:
			r.Reported = strictjson.Merge(r.Reported, part.patch)
			r.ReportedVersion++
		default:
			*part.queue = enqueue(*part.queue, part.patch)
		}
	}
}

func overlaps(queue []strictjson.Value, patch strictjson.Value) bool {
	for _, q := range queue {
		if strictjson.Overlap(q, patch) {
			return true
		}
	}
	return false
}

// addReport queues what the guard has to say upstream in the device's name.
func (s *Service) addReport(r *twinState, view update.View) {
	if view.Report.Kind() == strictjson.Object && !r.Local && s.o.Upstream != nil {
		r.speak()
		r.Queue = enqueue(r.Queue, view.Report)
	}
}

// deploymentQueue begins the name of a queue that is no twin; no device id holds NUL.
const deploymentQueue = "\x00deployments/"

// HandleDeployment answers a local deployment action; the caller has decided
// that the principal may ask, the guard decides again.
func (s *Service) HandleDeployment(p *principal.Principal, session string, m *message.Message, done func(code byte)) {
	r := update.Request{
		Device:     m.Via.Device,
		Deployment: m.Via.Object,
		Action:     update.Action(m.Via.Name),
		Body:       m.Payload,
		Who:        s.o.Initiator(p),
	}
	rid := m.Via.Request
	// A queue of its own: forwarding to the cloud may take long, and the
	// device's twin does not wait for that.
	if !s.do(deploymentQueue+r.Device, func(ctx context.Context, _ *identity) {
		a, err := s.o.Local(ctx, r)
		if err != nil {
			s.o.Log.Error("local deployment action failed", "device", r.Device, "action", r.Action, "err", err)
			a = update.Answer{Status: 500}
		}
		if rid == "" {
			return
		}
		body, err := json.Marshal(struct {
			Status int             `json:"status"`
			Body   json.RawMessage `json:"body,omitempty"`
		}{a.Status, a.Body})
		if err == nil {
			s.o.SendSession(session, s.message("deviceupdate/responses/"+rid, body, 0))
		}
	}) {
		done(message.QuotaExceeded)
		return
	}
	done(message.Success)
}

// save makes a record true: synced first, then in memory.
func (s *Service) save(i *identity, next twinState) error {
	text, err := json.Marshal(next)
	if err != nil {
		return err
	}
	if !bytes.Equal(text, i.saved) {
		saved := make(chan error, 1)
		s.o.Store.Put(i.id, text, func(err error) { saved <- err })
		if err := <-saved; err != nil {
			return err
		}
	}
	i.rec, i.saved = next, text
	s.note(i.id, &next)
	return nil
}

// fetch reads the twin from upstream; an error means that the last known one stands.
func (s *Service) fetch(ctx context.Context, i *identity) error {
	if s.o.Upstream == nil {
		return s.makeLocal(i)
	}
	ctx, cancel := context.WithTimeout(ctx, s.o.AnswerWithin)
	defer cancel()
	body, err := s.o.Upstream.TwinGet(ctx, i.id)
	if errors.Is(err, twin.ErrNoTwin) {
		return s.makeLocal(i)
	}
	if err != nil {
		return err
	}
	return s.take(i, body)
}

// take makes a twin from upstream the last known one.
func (s *Service) take(i *identity, body []byte) error {
	doc, err := twin.Parse(body)
	if err != nil {
		s.o.Guard.Unreadable(i.id, err)
		return err
	}
	next := i.rec
	next.Known, next.Local = true, false
	next.Desired, next.DesiredVersion = doc.Desired.Value, doc.Desired.Version
	next.Reported, next.ReportedVersion = doc.Reported.Value, doc.Reported.Version
	return s.save(i, next)
}

func (s *Service) makeLocal(i *identity) error {
	if i.rec.Local || i.rec.Known { // one that was known may be back: flush decides, when no more can be promised
		return nil
	}
	next := i.rec
	next.Local = true
	next.DesiredVersion, next.ReportedVersion = max(next.DesiredVersion, 1), max(next.ReportedVersion, 1)
	return s.save(i, next)
}
