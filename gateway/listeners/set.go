// Package listeners opens the gateway's sockets, and goes on trying where one
// cannot be opened: a port that another process has, a certificate that is
// not there yet. Nobody has to restart the gateway for what time, or a file, mends.
//
// A Door is a net.Listener from the beginning: whoever serves it waits in Accept
// until the socket is open. Each door is tried when it is added, so that at
// a good start every socket listens before anything else runs; Run tries the
// others again every Poll.
//
// A certificate is served whatever its validity says, because the client judges
// it. A door without a usable certificate does not listen; if systemd holds its socket,
// which listens anyway, every handshake fails. Certificate files are looked at every
// Poll and read again when they changed, and once a minute in any case, as long
// as something is wrong with them; what is good stays until Prepare replaces it.
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

// The levels: worth knowing; worse than it should be; not doing its work.
const (
	Notice Level = iota
	Degraded
	Failing
)

// Spec describes a door.
type Spec struct {
	Name    string // for people: "mqtts", "status page"
	Warning string // stem of the names of its findings: "listener-mqtts"
	Level   Level  // of not being open
	Address string // host:port, or a path; shown while it is not open
	// Open makes the socket. It is called again until it succeeds once.
	Open func() (net.Listener, error)
	// Passed is a socket that systemd holds; nil: Open makes one.
	Passed net.Listener
	TLS    *config.TLS // nil: none
	// Shape changes the TLS that was read before it is served; nil: nothing.
	Shape func(*tls.Config)
}

// Set is the doors of a gateway. Every Add comes before anything else is
// called; the other methods may then be called from any goroutine.
type Set struct {
	now     func() time.Time
	report  func([]Finding)
	serving chan struct{} // closed once a door is open
	once    sync.Once     // closes serving

	doors []*Door // written by Add only

	// attempts is held over every attempt and the report that follows it, so that neither overlaps
	// with another; it guards the fields of Door that say so.
	attempts sync.Mutex
}

// New makes an empty set. now is the clock by which certificates are judged.
// report is told every finding, raised or not, after every round of attempts; it must not call back.
func New(now func() time.Time, report func([]Finding)) *Set {
	return &Set{now: now, report: report, serving: make(chan struct{})}
}

// Add makes a door and tries it once.
func (s *Set) Add(spec Spec) *Door {
	d := &Door{spec: spec, source: spec.TLS, opened: make(chan struct{}), closed: make(chan struct{})}
	s.doors = append(s.doors, d)
	s.attempts.Lock()
	defer s.attempts.Unlock()
	s.try(d, time.Now())
	s.report(s.Findings())
	return d
}

// Run tries the doors that are not open, and certificates that are not good,
// until ctx ends. It closes no door: that is for whoever serves it.
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

// round tries every door once. at paces the attempts; it is not the clock that
// certificates are judged by, which may jump.
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
