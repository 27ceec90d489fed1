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

// HandleTwinGet answers a device's twin GET: with the twin from upstream or, if that cannot be
// read, with the last known one. Of both the device gets only what the guard lets it see.
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
		// The device is later sent again what it now sees, as a patch, which does no harm.
		s.o.Log.Error("twin record not written", "device", i.id, "err", err)
	}
	s.answer(i.id, 200, "$rid="+rid, doc.Body())
	s.flush(ctx, i)
}

// HandleReported stores a device's reported patch on disk, acknowledges it, and sends it upstream
// as soon as upstream can be reached.
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
		done(message.Success) // the PUBLISH is acknowledged; the answer says that the patch is refused
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
		next.updateOwn(patch.Value)
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

// checkReported checks the IoT Hub's bounds (docs/spec/device-update.md 5.4), so that no patch is
// acknowledged that the hub would reject. A patch that makes a twin smaller passes, even if the
// twin is still too large.
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

// place adds a patch that the guard has judged to the state: to the reported properties of a local
// twin, otherwise to the queue for upstream. The part that may not be read upstream is
// withheld in a queue of its own.
func (s *Service) place(r *twinState, reports update.Reports) {
	local := r.Local || s.o.Upstream == nil
	if overlaps(r.Withheld, reports.Now) {
		// The withheld patches are older than this one, and must not overwrite it when they are sent.
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

// addReport queues the report that the guard makes upstream in the device's name.
func (s *Service) addReport(r *twinState, view update.View) {
	if view.Report.Kind() == strictjson.Object && !r.Local && s.o.Upstream != nil {
		r.keepOwn()
		r.Queue = enqueue(r.Queue, view.Report)
	}
}

// deploymentQueue begins the name of a queue of jobs that is no twin's. No device id contains NUL.
const deploymentQueue = "\x00deployments/"

// HandleDeployment carries out a local deployment action and answers it. The caller has decided
// that the principal may request it, and the guard decides again.
func (s *Service) HandleDeployment(p *principal.Principal, session string, m *message.Message, done func(code byte)) {
	r := update.Request{
		Device:     m.Via.Device,
		Deployment: m.Via.Object,
		Action:     update.Action(m.Via.Name),
		Body:       m.Payload,
		Who:        s.o.Initiator(p),
	}
	rid := m.Via.Request
	// It has a queue of its own, because forwarding to the cloud may take long and must not
	// hold up the device's twin.
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

// save puts a new state into force: it is synced to disk first, then it replaces the one in memory.
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
	s.noteWaiting(i.id, &next)
	return nil
}

// fetch reads the twin from upstream. After an error the last known twin is unchanged.
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

// take makes body, a twin from upstream, the last known twin.
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
	// A twin that upstream had once may come back. flush makes it local when its queue is full.
	if i.rec.Local || i.rec.Known {
		return nil
	}
	next := i.rec
	next.Local = true
	next.DesiredVersion, next.ReportedVersion = max(next.DesiredVersion, 1), max(next.ReportedVersion, 1)
	return s.save(i, next)
}
