package management

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

// Caller is who sent a request, once that is proven.
type Caller struct {
	Subject model.Subject
	Name    string // for the log
}

// Options of a Server. Store, HomeTenant and Authenticate are required.
type Options struct {
	Store      Store
	HomeTenant space.ID // meant where a domain's assignment names no tenant
	HubHost    string   // host name in connection strings

	// Authenticate proves who sent r. Any error is answered 401 and logged;
	// its text is not sent.
	Authenticate func(r *http.Request) (Caller, error)

	// ServicePrincipal tells whether an object id is known to be a service
	// principal's, beyond those that assignments name as one; nil: none is.
	ServicePrincipal func(id space.ID) bool

	// Restored says that the Store was put back from a backup: numbers may
	// be used twice, so that a new epoch begins and every cursor is void.
	Restored bool

	RequestsPerSecond float64       // of each principal, and as many of the feed; 0: 100, the published limit; negative: none
	FeedEvents        int           // how many the feed remembers; 0: 10,000
	MaxWait           time.Duration // longest long poll; 0: 60 s
	Log               *slog.Logger  // nil: discard
	Now               func() time.Time
}

// Server is the management API. It is an http.Handler; it starts nothing.
type Server struct {
	o       Options
	mux     *http.ServeMux
	limits  *throttle
	refused rate.Sometimes // limits how often refused requests are logged
	log     *slog.Logger

	write sync.Mutex // held from the first look at the state to its replacement
	state atomic.Pointer[state]

	release chan struct{} // closed by Release
	once    sync.Once
}

// New reads the store and returns a server that is ready to answer. A store
// without content gets a new epoch, which is durable before New returns.
func New(o Options) (*Server, error) {
	if o.Store == nil || o.Authenticate == nil || o.HomeTenant.IsZero() {
		return nil, fmt.Errorf("management: Store, HomeTenant and Authenticate are required")
	}
	if o.RequestsPerSecond == 0 {
		o.RequestsPerSecond = 100
	}
	if o.FeedEvents <= 0 {
		o.FeedEvents = 10_000
	}
	if o.MaxWait <= 0 {
		o.MaxWait = time.Minute
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, log: o.Log, release: make(chan struct{}), refused: rate.Sometimes{First: 10, Interval: time.Second}}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.limits = newThrottle(o.RequestsPerSecond, o.Now)
	st, found, err := load(o.Store)
	if err != nil {
		return nil, err
	}
	if !found || o.Restored {
		if err := s.newEpoch(st); err != nil {
			return nil, err
		}
	}
	st.hub = o.HubHost
	st.policy = compile(st)
	s.state.Store(st)
	s.mux = s.routes()
	return s, nil
}

func (s *Server) newEpoch(st *state) error {
	ops := st.feed.forget(len(st.feed.events))
	st.version.Epoch = newEpoch()
	st.feed = ring{floor: st.version.Number, histories: []string{st.version.History}}
	if err := s.o.Store.Commit(append(ops, metaOp(st.version, st.feed))); err != nil {
		return fmt.Errorf("%w: new epoch: %w", ErrStore, err)
	}
	return nil
}

// Version is the version of the current snapshot.
func (s *Server) Version() model.Version { return s.state.Load().version }

// Empty tells whether nothing was ever stored; then nobody has any right, and only
// Import can put something in.
func (s *Server) Empty() bool { return s.state.Load().version.Number == 0 }

// Release ends all waiting long polls, with an answer; for good. Register it
// with http.Server.RegisterOnShutdown, which otherwise waits for them.
func (s *Server) Release() { s.once.Do(func() { close(s.release) }) }

// update runs one transaction. What fn returns as error is returned, and
// nothing has changed; a transaction that writes nothing makes no version.
func (s *Server) update(fn func(t *tx) error) error {
	s.write.Lock()
	defer s.write.Unlock()
	base := s.state.Load()
	t := begin(base)
	if err := fn(t); err != nil {
		return err
	}
	if len(t.ops)+len(t.log) == 0 {
		return nil
	}
	next, ops := t.seal(s.o.FeedEvents)
	next.policy = base.policy.follow(t.policy, next)
	if err := s.o.Store.Commit(ops); err != nil {
		return fmt.Errorf("%w: commit %s: %w", ErrStore, next.version, err)
	}
	s.state.Store(next)
	close(base.changed)
	return nil
}

// await waits until st has a successor; false: the wait is over first.
func (s *Server) await(ctx context.Context, st *state, deadline <-chan time.Time) bool {
	select {
	case <-st.changed:
		return true
	case <-deadline:
	case <-ctx.Done():
	case <-s.release:
	}
	return false
}
