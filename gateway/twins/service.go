package twins

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Service serves twin requests.
type Service struct {
	o Options

	mu      sync.Mutex
	ctx     context.Context      // of Run; nil before Run; guarded by mu
	twins   map[string]*identity // guarded by mu; entries are never removed
	pending map[string]*call     // direct methods that wait for an answer, by request id; guarded by mu
	nextRID uint64               // guarded by mu
	waiting map[string]bool      // identities with reported patches for upstream; guarded by mu
	working sync.WaitGroup
}

// identity is one device or module.
type identity struct {
	id    string
	rec   twinState               // touched only by the identity's worker, and by Load before Run
	saved []byte                  // rec as it is on disk; touched as rec is
	jobs  []func(context.Context) // guarded by Service.mu
	busy  bool                    // the worker's goroutine exists; guarded by Service.mu
	late  bool                    // a refresh is queued in place of jobs that did not fit; guarded by Service.mu
}

// maxJobs is how many jobs of one identity may wait. A request beyond that is refused, with 0x97
// (Quota exceeded).
const maxJobs = 256

// New prepares a service. Call Load and then Run.
func New(o Options) *Service {
	if o.AnswerWithin == 0 {
		o.AnswerWithin = 5 * time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Present == nil {
		o.Present = func(string) bool { return false }
	}
	return &Service{o: o, twins: map[string]*identity{}, pending: map[string]*call{}, waiting: map[string]bool{}}
}

// Load reads the states of twins from the disk. One that cannot be read is logged and dropped; its
// twin is read from upstream again.
func (s *Service) Load() error {
	return s.o.Store.Load(func(id string, text []byte) error {
		r, err := decodeTwinState(text)
		if err != nil {
			s.o.Log.Error("twin record dropped: unreadable", "device", id, "err", err)
			return nil
		}
		s.identity(id).rec = r
		s.noteWaiting(id, &r)
		return nil
	})
}

// Run runs the jobs and returns when ctx has ended and no job runs any more. Requests before Run
// wait for it; requests after its end are refused.
func (s *Service) Run(ctx context.Context) error {
	s.mu.Lock()
	s.ctx = ctx
	for _, i := range s.twins {
		s.wake(i)
	}
	s.mu.Unlock()
	s.resend(ctx)
	s.working.Wait()
	return nil
}

func (s *Service) identity(id string) *identity {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.identityLocked(id)
}

func (s *Service) identityLocked(id string) *identity {
	i := s.twins[id]
	if i == nil {
		i = &identity{id: id, rec: newTwinState()}
		s.twins[id] = i
	}
	return i
}

// do queues a job of an identity. It returns false if too many jobs wait, or Run has ended.
func (s *Service) do(id string, job func(ctx context.Context, i *identity)) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.identityLocked(id)
	return len(i.jobs) < maxJobs && s.queue(i, job)
}

// queue is do without the bound maxJobs, for jobs that a device must not be able to prevent by
// filling its queue. mu is held.
func (s *Service) queue(i *identity, job func(ctx context.Context, i *identity)) bool {
	if s.ctx != nil && s.ctx.Err() != nil {
		return false
	}
	i.jobs = append(i.jobs, func(ctx context.Context) {
		s.resetForeign(ctx, i)
		job(ctx, i)
	})
	s.wake(i)
	return true
}

// doOrRefresh is do for jobs that upstream or the guard causes. If the device has filled its queue, one
// refresh takes the place of these jobs: it reads the twin and has the guard judge it again, so
// that nothing that the jobs would have brought is missed.
func (s *Service) doOrRefresh(id string, job func(ctx context.Context, i *identity)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.identityLocked(id)
	switch {
	case len(i.jobs) < maxJobs:
		s.queue(i, job)
	case !i.late:
		i.late = s.queue(i, func(ctx context.Context, i *identity) {
			s.mu.Lock()
			i.late = false
			s.mu.Unlock()
			s.refresh(ctx, i)
		})
	}
}

// resetForeign deletes the state of a twin if it belongs to another device than the one that has
// the name now. It works also if the removal of the former device was never reported here.
func (s *Service) resetForeign(ctx context.Context, i *identity) {
	if s.o.Owner == nil || strings.HasPrefix(i.id, deploymentQueue) {
		return
	}
	owner := s.o.Owner(i.id)
	if owner == "" || owner == i.rec.Owner {
		return
	}
	if i.rec.Owner != "" {
		s.forget(ctx, i)
	}
	i.rec.Owner = owner
}

// wake starts the identity's worker if there is work and none runs. mu is held.
func (s *Service) wake(i *identity) {
	if i.busy || len(i.jobs) == 0 || s.ctx == nil || s.ctx.Err() != nil {
		return
	}
	i.busy = true
	ctx := s.ctx
	s.working.Go(func() {
		for {
			s.mu.Lock()
			if len(i.jobs) == 0 {
				i.busy, i.jobs = false, nil
				s.mu.Unlock()
				return
			}
			job := i.jobs[0]
			i.jobs = i.jobs[1:]
			s.mu.Unlock()
			// Jobs run also after ctx has ended, because somebody waits for their answers. They
			// end soon, because their calls get the ended ctx.
			job(ctx)
		}
	})
}

// idOf is the id of a device's or module's twin: "{device}" or "{device}/{module}".
func idOf(p *principal.Principal) string {
	if p.Kind == principal.Module {
		return p.DeviceID + "/" + p.ModuleID
	}
	return p.DeviceID
}

// keyOf is the principal key of an identity (gateway/principal).
func keyOf(id string) string {
	if strings.Contains(id, "/") {
		return "module:" + id
	}
	return "device:" + id
}

func (s *Service) message(topic string, body []byte, qos byte) *message.Message {
	return &message.Message{
		Topic:     topic,
		Payload:   body,
		QoS:       qos,
		Accepted:  s.o.Now(),
		Publisher: s.o.Self,
	}
}

// answer publishes an answer on the requester's $iothub/twin/res.
func (s *Service) answer(id string, status int, query string, body []byte) {
	s.o.Send(keyOf(id), s.message("$iothub/twin/res/"+strconv.Itoa(status)+"/?"+query, body, 0))
}

// Handle takes the requests that this package answers, and calls done exactly once. If it returns
// false, m is for another service and done is not called.
func (s *Service) Handle(p *principal.Principal, session string, m *message.Message, done func(code byte)) bool {
	switch m.Via.Handling {
	case message.TwinGet:
		s.HandleTwinGet(p, m, done)
	case message.TwinReported:
		s.HandleReported(p, m, done)
	case message.MethodResponse:
		s.HandleMethodResponse(p, m, done)
	case message.Deployment:
		s.HandleDeployment(p, session, m, done)
	default:
		return false
	}
	return true
}

// Status is a line of a status page.
type Status struct {
	ID               string
	Local, Known     bool
	Queued, Withheld int
}

// Status lists the twins, once their running work is done, in order of their names.
func (s *Service) Status(ctx context.Context) []Status {
	s.mu.Lock()
	names := slices.Sorted(maps.Keys(s.twins))
	s.mu.Unlock()
	var out []Status
	for _, n := range names {
		if strings.HasPrefix(n, deploymentQueue) {
			continue
		}
		got := make(chan Status, 1)
		if !s.do(n, func(_ context.Context, i *identity) {
			got <- Status{i.id, i.rec.Local, i.rec.Known, len(i.rec.Queue), len(i.rec.Withheld)}
		}) {
			continue
		}
		select {
		case line := <-got:
			out = append(out, line)
		case <-ctx.Done():
			return out
		}
	}
	return out
}
