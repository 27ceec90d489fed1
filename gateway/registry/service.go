package registry

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Service answers registry requests.
type Service struct {
	o      Options
	work   chan struct{} // of capacity one: a create was queued, for sendCreates
	unsent chan struct{} // of capacity one: an answer was queued, for sendAnswers

	mu      sync.Mutex
	queue   []*entry       // durable, in order of acceptance; guarded by mu
	held    map[string]int // creates that are queued or being written, by principal key; guarded by mu
	all     int            // the sum of held; guarded by mu
	next    uint64         // number of the next create; guarded by mu
	away    bool           // the last round could not send every create; guarded by mu
	answers []func()       // each sends one answer; for sendAnswers; guarded by mu
	closed  bool           // Run has ended; guarded by mu
}

// entry is one create in the queue.
type entry struct {
	queuedCreate
	number uint64
	asks   []ask // the requests that are answered when the create is; guarded by Service.mu
}

type ask struct {
	session, request string
	told             bool // it was answered that the create waits
}

const (
	maxUnsent    = 256           // queued answers beyond which a get is refused
	maxUnsentAll = 8 * maxUnsent // queued answers beyond which an answer to a create is dropped
	maxAsks      = 8             // requests that wait for one create; beyond them the oldest gets no answer
)

// New prepares a service. Call Load and then Run.
func New(o Options) (*Service, error) {
	if err := o.complete(); err != nil {
		return nil, err
	}
	return &Service{o: o, work: make(chan struct{}, 1), unsent: make(chan struct{}, 1), held: map[string]int{}}, nil
}

// Load reads the creates that were queued before the restart. One that cannot be read is logged
// and left out.
func (s *Service) Load() error {
	defer func() {
		slices.SortFunc(s.queue, func(a, b *entry) int { return cmp.Compare(a.number, b.number) })
	}()
	return s.o.Store.Load(func(key string, text []byte) error {
		n, err := numberOf(key)
		var r queuedCreate
		if err == nil {
			r, err = decodeCreate(text)
		}
		if err != nil {
			s.o.Log.Error("queued create dropped: unreadable", "key", key, "err", err)
			s.o.Store.Delete(key, func(error) {})
			return nil
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.queue = append(s.queue, &entry{queuedCreate: r, number: n, asks: []ask{{session: r.Session, request: r.Request, told: true}}})
		s.held[r.Who.Key]++
		s.all++
		s.next = max(s.next, n+1)
		return nil
	})
}

// Run sends creates and answers until ctx ends, and returns when both goroutines have ended.
// Creates that were not sent by then are sent after the next start.
func (s *Service) Run(ctx context.Context) error {
	var working sync.WaitGroup
	working.Go(func() { s.sendCreates(ctx) })
	working.Go(func() { s.sendAnswers(ctx) })
	working.Wait()
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	return nil
}

// Waiting is how many creates are queued.
func (s *Service) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Handle takes the requests that this package answers, and calls done exactly once. If it
// returns false, m is for another service and done is not called.
func (s *Service) Handle(p *principal.Principal, session string, m *message.Message, done func(code byte)) bool {
	if m.Via.Handling != message.Registry {
		return false
	}
	switch m.Via.Name {
	case "get":
		s.get(p, session, m, done)
	case "create":
		s.create(p, session, m, done)
	default:
		done(message.ImplementationSpecificError)
	}
	return true
}

func (s *Service) get(p *principal.Principal, session string, m *message.Message, done func(code byte)) {
	id, request := m.Via.Device, m.Via.Request
	if !s.tryAnswer(func() {
		t := s.o.Topology()
		d, ok := t.DeviceByHubID(id)
		if !ok {
			s.respond(session, request, refusal(http.StatusNotFound, "NotFound", "no such device"))
			return
		}
		s.respond(session, request, answer{http.StatusOK, s.view(p, t, d)})
	}) {
		done(message.QuotaExceeded)
		return
	}
	done(message.Success)
}

func (s *Service) create(p *principal.Principal, session string, m *message.Message, done func(code byte)) {
	refuse := func(code byte, a answer) {
		s.tryAnswer(func() { s.respond(session, m.Via.Request, a) })
		done(code)
	}
	if s.o.Creator == nil {
		refuse(message.ImplementationSpecificError,
			refusal(http.StatusServiceUnavailable, "NoManagementAPI", "this gateway has no management API to forward to"))
		return
	}
	attributes, err := parseCreate(m.Payload)
	if err == nil {
		err = checkHardwareID(m.Via.Object)
	}
	if err != nil {
		s.o.Audit(s.record(p.Key, m.Topic, false, "bad-request", err.Error()))
		refuse(message.PayloadFormatInvalid, refusal(http.StatusBadRequest, "BadRequest", err.Error()))
		return
	}
	d, ok := s.o.Topology().DeviceByHubID(m.Via.Device)
	if !ok {
		refuse(message.NotAuthorized, refusal(http.StatusNotFound, "NotFound", "no such device"))
		return
	}
	r := queuedCreate{
		Device:     d.HubID,
		Node:       d.ID,
		HardwareID: m.Via.Object,
		Attributes: attributes,
		Session:    session,
		Request:    m.Via.Request,
		Accepted:   s.o.Now(),
		Who:        whoIs(p),
	}
	joined, err := s.enqueue(r, done)
	if joined {
		done(message.Success) // the create that it joined is on disk already
	}
	if err != nil {
		s.o.Audit(s.record(p.Key, m.Topic, false, "queue-full", err.Error()))
		refuse(message.QuotaExceeded, refusal(http.StatusTooManyRequests, "TooManyRequests", "too much is waiting for the cloud"))
	}
}

// errFull says that the queue takes no more.
var errFull = errors.New("the queue is full")

// enqueue stores a create and acknowledges it (done) once it is durable. If the same principal
// has sent the same request before and it still waits, enqueue adds the requester to that one
// instead and returns joined; done is then not called.
func (s *Service) enqueue(r queuedCreate, done func(code byte)) (joined bool, err error) {
	text, err := json.Marshal(r)
	if err != nil {
		return false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, errors.New("the gateway stops")
	}
	if e := s.same(&r); e != nil {
		s.join(e, ask{session: r.Session, request: r.Request})
		return true, nil
	}
	if s.all >= s.o.MaxQueued || s.held[r.Who.Key] >= s.o.MaxPerPrincipal {
		return false, errFull
	}
	e := &entry{queuedCreate: r, number: s.next}
	s.next++
	s.held[r.Who.Key]++
	s.all++
	// mu is held here, so that the store receives the records in the order of their numbers.
	s.o.Store.Put(keyOf(e.number), text, func(err error) { s.stored(e, err, done) })
	return false, nil
}

// stored is called once the record is durable, or could not be written.
func (s *Service) stored(e *entry, err error, done func(code byte)) {
	s.mu.Lock()
	if err != nil {
		s.release(e)
		s.mu.Unlock()
		s.o.Log.Error("create not queued", "device", e.Device, "err", err)
		s.tryAnswer(func() {
			s.respond(e.Session, e.Request, refusal(http.StatusInternalServerError, "NotStored", "the request could not be kept"))
		})
		done(message.UnspecifiedError)
		return
	}
	s.queue = append(s.queue, e)
	s.join(e, ask{session: e.Session, request: e.Request})
	s.mu.Unlock()
	done(message.Success)
	signal(s.work)
}

// join adds a requester to a queued create. mu is held.
func (s *Service) join(e *entry, a ask) {
	if s.away {
		a.told = true
		s.queueAnswer(func() { s.respond(a.session, a.request, waiting()) })
	}
	if len(e.asks) == maxAsks {
		e.asks = e.asks[1:]
	}
	e.asks = append(e.asks, a)
}

func (s *Service) same(r *queuedCreate) *entry {
	for _, e := range s.queue {
		if e.Who.Key == r.Who.Key && e.Node == r.Node && e.HardwareID == r.HardwareID && e.Attributes == r.Attributes {
			return e
		}
	}
	return nil
}

// release subtracts an entry from the counts of its principal and of the queue. mu is held.
func (s *Service) release(e *entry) {
	s.all--
	if s.held[e.Who.Key]--; s.held[e.Who.Key] <= 0 {
		delete(s.held, e.Who.Key)
	}
}

// tryAnswer queues f, which sends an answer, for sendAnswers. It returns false if too much is queued.
func (s *Service) tryAnswer(f func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || len(s.answers) >= maxUnsent {
		return false
	}
	s.queueAnswer(f)
	return true
}

// queueAnswer is tryAnswer for answers to creates. They may fill the queue up to maxUnsentAll, so that requests
// cannot crowd them out. mu is held.
func (s *Service) queueAnswer(f func()) {
	if len(s.answers) < maxUnsentAll {
		s.answers = append(s.answers, f)
		signal(s.unsent)
	}
}

// sendAnswers sends the queued answers to clients until ctx ends. A client that does not read can hold
// up the answers to others for a moment. It never holds up a goroutine that reads a client's
// packets, nor the one that sends to the cloud.
func (s *Service) sendAnswers(ctx context.Context) {
	for {
		s.mu.Lock()
		answers := s.answers
		s.answers = nil
		s.mu.Unlock()
		for _, f := range answers {
			f()
		}
		if len(answers) > 0 {
			continue
		}
		select {
		case <-ctx.Done():
			return
		case <-s.unsent:
		}
	}
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (s *Service) record(who, topic string, allowed bool, reason, detail string) message.AuditRecord {
	return message.AuditRecord{
		Time:      s.o.Now(),
		Event:     "registry",
		Allowed:   allowed,
		Principal: who,
		Topic:     topic,
		Reason:    reason,
		Detail:    detail,
		Count:     1,
	}
}
