// Package listeners opens the gateway's sockets. If one cannot be opened, because
// another process has the port or the certificate is not there yet, it tries
// again until it can, so that nobody has to restart the gateway once the port is
// free or the file is there.
//
// A Door is a net.Listener that exists before its socket does: Accept waits until
// the socket is open. Add tries to open a door at once, so that normally every
// socket listens before anything else runs. Run tries the doors that are still
// closed again every Poll.
//
// A certificate that has expired or is not yet valid is served nevertheless,
// because clients judge it by their own clocks. A door without a usable
// certificate does not listen. If systemd passed its socket, which listens in any
// case, every handshake fails instead. While something is wrong with the files of
// a certificate, they are looked at every Poll, and read again when they changed
// and at least once a minute. A good certificate stays until Prepare replaces it.
package listeners

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
)

const (
	// Poll is the pause between two attempts to open a socket, and between two
	// looks at certificate files.
	Poll = 3 * time.Second
	// readAgain is how often files that cannot be used are read although they
	// look unchanged: what changed may be the directory, or their owner.
	readAgain = time.Minute
)

// Level is how bad a Finding is.
type Level uint8

// The levels. Notice: worth knowing. Degraded: it works, but not as it should. Failing: it
// does not work.
const (
	Notice Level = iota
	Degraded
	Failing
)

// Spec describes a door.
type Spec struct {
	Name    string // as people read it: "mqtts", "status page"
	Warning string // how the names of its findings begin: "listener-mqtts"
	Level   Level  // of the finding that it is not open
	Address string // host:port, or a path; Addr returns it while the door is not open
	// Open makes the socket. It is called until it has succeeded once.
	Open func() (net.Listener, error)
	// Passed is a listening socket that systemd passed to the process; nil: Open makes one.
	Passed net.Listener
	TLS    *config.TLS // nil: none
	// Shape adjusts the TLS configuration that was read from the files before it is
	// served; nil: it is served as it is.
	Shape func(*tls.Config)
}

// Set holds the doors of a gateway. All calls of Add come first; the other methods
// may then be called from any goroutine.
type Set struct {
	now     func() time.Time
	report  func([]Finding)
	serving chan struct{} // closed once a door is open
	once    sync.Once     // closes serving

	doors []*Door // written by Add only

	// attempts is held during every attempt and the report that follows it, so that no two of
	// them overlap. It also guards the fields of Door that name it.
	attempts sync.Mutex
}

// New makes an empty set. Certificates are judged by the clock now. After every round of
// attempts report is called with every finding, raised or not. It must not call a method of the
// set, because attempts is held.
func New(now func() time.Time, report func([]Finding)) *Set {
	return &Set{now: now, report: report, serving: make(chan struct{})}
}

// Add makes a door and tries to open it once.
func (s *Set) Add(spec Spec) *Door {
	d := &Door{spec: spec, source: spec.TLS, opened: make(chan struct{}), closed: make(chan struct{})}
	s.doors = append(s.doors, d)
	s.attempts.Lock()
	defer s.attempts.Unlock()
	s.try(d, time.Now())
	s.report(s.Findings())
	return d
}

// Run tries again to open the doors that are not open, and to read certificates that are
// not good, until ctx ends. It closes no door; the server of each door does.
func (s *Set) Run(ctx context.Context) error {
	ticker := time.NewTicker(Poll)
	defer ticker.Stop()
	for {
		select {
		case at := <-ticker.C:
			s.round(at)
		case <-ctx.Done():
			return nil
		}
	}
}

// round tries every door once. at is the time by which attempts are spaced. It is not from
// the clock by which certificates are judged, because that one may jump.
func (s *Set) round(at time.Time) {
	s.attempts.Lock()
	defer s.attempts.Unlock()
	for _, d := range s.doors {
		s.try(d, at)
	}
	s.report(s.Findings())
}

func (s *Set) try(d *Door, at time.Time) {
	d.readFiles(at, s.now())
	if d.open() {
		s.once.Do(func() { close(s.serving) })
	}
}

// Serving is closed once at least one door is open.
func (s *Set) Serving() <-chan struct{} { return s.serving }

// Close closes every door.
func (s *Set) Close() error {
	s.attempts.Lock()
	defer s.attempts.Unlock()
	for _, d := range s.doors {
		_ = d.Close()
	}
	return nil
}
