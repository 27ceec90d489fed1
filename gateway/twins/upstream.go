package twins

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// refresh sends the queued patches and reads the twin again, because desired patches may have been
// missed. Then the twin is judged again, also if it could not be read.
func (s *Service) refresh(ctx context.Context, i *identity) {
	s.flush(ctx, i)
	if err := s.fetch(ctx, i); err != nil {
		s.o.Log.Info("twin not read from upstream", "device", i.id, "err", err)
	}
	if i.rec.Known || i.rec.Local {
		s.show(ctx, i)
	}
}

// Twin takes a whole twin that upstream sent without being asked, as after a new connection, and
// then sends the queued patches.
func (s *Service) Twin(id string, body []byte) {
	s.doOrRefresh(id, func(ctx context.Context, i *identity) {
		doc, err := twin.Parse(body)
		if err == nil && i.rec.Known && doc.Desired.Version < i.rec.DesiredVersion {
			// Either a patch overtook this twin, or the twin was deleted and made again, so that its
			// versions start anew. Reading it once more tells.
			err = s.fetch(ctx, i)
		} else {
			err = s.take(i, body) // parses again, and so returns err as well
		}
		if err != nil {
			s.o.Log.Error("twin from upstream not taken", "device", i.id, "err", err)
			return
		}
		s.flush(ctx, i)
		s.show(ctx, i)
	})
}

// DesiredPatch takes a desired PATCH from upstream. If its version is not the one after the last
// known version, the twin is read again.
func (s *Service) DesiredPatch(id string, body []byte) {
	s.doOrRefresh(id, func(ctx context.Context, i *identity) {
		patch, err := twin.ParsePatch(body)
		if err != nil {
			s.o.Log.Error("upstream sent a malformed desired patch", "device", i.id, "err", err)
			s.o.Guard.Unreadable(i.id, err)
			return
		}
		if i.rec.Known && patch.Version == i.rec.DesiredVersion {
			return // the twin was read with this patch in it
		}
		if !i.rec.Known || patch.Version != i.rec.DesiredVersion+1 {
			if err := s.fetch(ctx, i); err != nil {
				s.o.Log.Warn("desired patch does not follow the known twin, and that cannot be read", "device", i.id, "err", err)
				return
			}
		} else {
			merged := i.rec.desired().Merge(patch)
			next := i.rec
			next.Desired, next.DesiredVersion = merged.Value, merged.Version
			if err := s.save(i, next); err != nil {
				s.o.Log.Error("twin record not written", "device", i.id, "err", err)
				return
			}
		}
		s.show(ctx, i)
	})
}

// Recheck has the guard judge a twin again, because a change of rights or of the registry, or a
// local deployment action, changed what the device may see or what may be read of it. It is meant
// for the guard's Options.Recheck.
func (s *Service) Recheck(id string) {
	s.doOrRefresh(id, func(ctx context.Context, i *identity) {
		if i.rec.Known || i.rec.Local {
			s.show(ctx, i)
		}
		s.flush(ctx, i)
	})
}

// Forget deletes the twin of an identity that was removed from the registry, the twins of its
// modules, their queued patches and their deployments. It is queued behind all jobs that wait,
// even if there are maxJobs. If Options.Owner is set, a twin is kept that already belongs to the
// device that has the name now: if a second device of the same name appears in the registry and
// is removed, nothing of the first one's is deleted. A module is owned by its device; if id names
// a module, its twin is deleted in any case.
func (s *Service) Forget(id string) {
	forget := s.forget
	if !strings.Contains(id, "/") {
		forget = func(ctx context.Context, i *identity) {
			if s.o.Owner == nil || i.rec.Owner == "" || s.o.Owner(i.id) != i.rec.Owner {
				s.forget(ctx, i)
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queue(s.identityLocked(id), forget)
	for name, i := range s.twins {
		if strings.HasPrefix(name, id+"/") {
			s.queue(i, forget)
		}
	}
}

// forget runs on the identity's worker, so that no job of the deleted identity runs after it.
// If the state cannot be deleted on disk, it is empty in memory nevertheless, and the next write
// replaces it.
func (s *Service) forget(ctx context.Context, i *identity) {
	gone := make(chan error, 1)
	s.o.Store.Delete(i.id, func(err error) { gone <- err })
	if err := errors.Join(<-gone, s.o.Guard.Forget(ctx, i.id)); err != nil {
		s.o.Log.Error("the record of a device that is gone was not deleted", "device", i.id, "err", err)
	}
	i.rec, i.saved = newTwinState(), nil
	s.noteWaiting(i.id, &i.rec)
}

// show has the guard judge the desired properties, and sends the device what it may see and has
// not been shown, as one patch with the hub's $version.
func (s *Service) show(ctx context.Context, i *identity) {
	key := keyOf(i.id)
	present := s.o.Present(key)
	view, err := s.o.Guard.Desired(ctx, i.id, i.rec.desired(), present)
	if err != nil {
		s.o.Log.Error("deployment guard: the last good desired state is shown", "device", i.id, "err", err)
	}
	next := i.rec
	s.addReport(&next, view)
	patch, changed := devicePatch(i.rec.Shown, view.Desired.Value)
	if present && changed {
		body := twin.Properties{Value: patch, Version: view.Desired.Version}.Body().Bytes()
		topic := "$iothub/twin/PATCH/properties/desired/?$version=" + strconv.FormatInt(view.Desired.Version, 10)
		if s.o.Send(key, s.message(topic, body, 1)) > 0 {
			next.Shown = view.Desired.Value
		}
	}
	if err := s.save(i, next); err != nil {
		s.o.Log.Error("twin record not written", "device", i.id, "err", err)
	}
	s.flush(ctx, i)
}

// flush sends the queued patches upstream, in order, until none is left or upstream is not
// reachable. It returns true if the twin does not exist there at the moment. The patches are
// then kept as long as the queue has capacity, because the twin may come back (the key is being rolled,
// the device is disabled for a while).
func (s *Service) flush(ctx context.Context, i *identity) (absent bool) {
	if s.o.Upstream == nil || i.rec.Local {
		return false
	}
	if len(i.rec.Withheld) > 0 && s.o.Guard.MayReport(ctx, i.id) {
		next := i.rec
		next.Queue = append(append([]strictjson.Value(nil), next.Queue...), next.Withheld...)
		next.Withheld = nil
		if err := s.save(i, next); err != nil {
			s.o.Log.Error("twin record not written", "device", i.id, "err", err)
			return false
		}
	}
	for len(i.rec.Queue) > 0 {
		patch := i.rec.Queue[0]
		call, cancel := context.WithTimeout(ctx, s.o.AnswerWithin)
		version, err := s.o.Upstream.PatchReported(call, i.id, patch.Bytes())
		cancel()
		next := i.rec
		switch {
		case err == nil:
			next.Reported, next.ReportedVersion = strictjson.Merge(next.Reported, patch), version
		case errors.Is(err, twin.ErrRejected):
			s.o.Log.Error("upstream rejects a reported patch; it is dropped", "device", i.id, "err", err)
		case errors.Is(err, twin.ErrNoTwin) && (!next.Known || next.Local || next.full()):
			next.Local, next.Reported = true, strictjson.Merge(next.Reported, patch)
			next.ReportedVersion++
		default:
			return errors.Is(err, twin.ErrNoTwin)
		}
		next.Queue = next.Queue[1:]
		if err := s.save(i, next); err != nil {
			s.o.Log.Error("twin record not written: a patch may be sent twice", "device", i.id, "err", err)
			return false
		}
	}
	return false
}
