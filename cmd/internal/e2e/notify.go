package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Supervisor is systemd's end of NOTIFY_SOCKET: a real datagram socket.
type Supervisor struct {
	conn *net.UnixConn
	path string
}

// Notice is what was said, and when it arrived.
type Notice struct {
	Text string
	At   time.Time
}

// NewSupervisor listens until the test ends.
func NewSupervisor(t testing.TB) *Supervisor {
	t.Helper()
	path := filepath.Join(ShortDir(t), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Net: "unixgram", Name: path})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return &Supervisor{conn, path}
}

// Env is what systemd would put into the environment.
func (s *Supervisor) Env(more ...string) []string {
	return append([]string{"NOTIFY_SOCKET=" + s.path}, more...)
}

// Next is the next message, or false when none comes in time.
func (s *Supervisor) Next(within time.Duration) (Notice, bool) {
	if err := s.conn.SetReadDeadline(time.Now().Add(within)); err != nil {
		return Notice{}, false
	}
	b := make([]byte, 8192)
	n, err := s.conn.Read(b)
	if err != nil {
		return Notice{}, false
	}
	return Notice{string(b[:n]), time.Now()}, true
}

// Await reads until a message has the assignment, and returns all that came with it last.
func (s *Supervisor) Await(t testing.TB, assignment string) []Notice {
	t.Helper()
	var all []Notice
	for deadline := time.Now().Add(Patience); ; {
		n, ok := s.Next(time.Until(deadline))
		if !ok {
			t.Fatalf("nobody said %s; said was: %v", assignment, texts(all))
		}
		all = append(all, n)
		if n.Has(assignment) {
			return all
		}
	}
}

// ReadyOrEnd waits for the end of a program that must not become ready: READY=1 fails the test at once, so
// that a program that serves instead of ending is found without waiting for Patience.
func (s *Supervisor) ReadyOrEnd(t testing.TB, p *Process) {
	t.Helper()
	ready := make(chan struct{})
	go func() {
		for deadline := time.Now().Add(Patience); ; {
			switch n, ok := s.Next(time.Until(deadline)); {
			case !ok: // late, or the test has ended and the socket is closed
				return
			case n.Has("READY=1"):
				close(ready)
				return
			}
		}
	}()
	select {
	case <-p.Done():
	case <-ready:
		t.Fatalf("%s said READY=1, and should have ended:\n%s", p.Name(), Tail(p.Text(), 20))
	case <-time.After(Patience):
		t.Fatalf("%s neither ended nor said READY=1 within %v:\n%s", p.Name(), Patience, Tail(p.Text(), 20))
	}
}

// Has tells whether one line of the message is the assignment, or begins with it if that ends in "=".
func (n Notice) Has(assignment string) bool {
	for line := range strings.SplitSeq(n.Text, "\n") {
		if line == assignment || strings.HasSuffix(assignment, "=") && strings.HasPrefix(line, assignment) {
			return true
		}
	}
	return false
}

func texts(all []Notice) string {
	var b strings.Builder
	for _, n := range all {
		fmt.Fprintf(&b, "%q ", n.Text)
	}
	return b.String()
}

// ShortDir is a temporary directory whose path is short enough that a socket's name fits behind it.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}
