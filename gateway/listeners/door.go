package listeners

import (
	"crypto/tls"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// Door is one socket, open or not yet. It is a net.Listener.
type Door struct {
	spec   Spec          // as it was added
	live   tlsfile.Live  // what handshakes see
	opened chan struct{} // closed once socket is set
	closed chan struct{} // closed by Close

	source *config.TLS   // where the certificate is now; guarded by Set.attempts
	files  []os.FileInfo // as they were before the last read; guarded by Set.attempts
	read   time.Time     // when that was; guarded by Set.attempts

	mu     sync.Mutex // guards the fields below
	socket net.Listener
	shut   bool
	failed error // of the last Open
	cert   certificate
}

// certificate is what is known of a door's TLS files.
type certificate struct {
	served  tlsfile.Validity // zero: there is none to serve
	pair    error            // why the files hold no pair
	clients error            // why the client authorities cannot be used
}

// Accept waits until the socket is open, and then for a connection.
func (d *Door) Accept() (net.Conn, error) {
	select {
	case <-d.opened:
		return d.socket.Accept() // not written any more
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Opened is closed once the socket is open.
func (d *Door) Opened() <-chan struct{} { return d.opened }

// Close closes the socket, or sees to it that there will be none.
func (d *Door) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.shut {
		return nil
	}
	d.shut = true
	close(d.closed)
	if d.socket == nil {
		return nil
	}
	return d.socket.Close()
}

// Addr is the socket's address; the configured one while it is not open.
func (d *Door) Addr() net.Addr {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.socket != nil {
		return d.socket.Addr()
	}
	return intended(d.spec.Address)
}

// intended is the address of a socket that is not open.
type intended string

// Network implements net.Addr.
func (intended) Network() string { return "none" }

// String implements net.Addr.
func (a intended) String() string { return string(a) }

// TLS is what to speak on the door's connections: always the certificate of
// the moment. It is nil for a door without TLS.
func (d *Door) TLS() *tls.Config {
	if d.spec.TLS == nil {
		return nil
	}
	return d.live.Config()
}

// open opens the socket if it is time to, and reports whether it is open.
func (d *Door) open() bool {
	d.mu.Lock()
	done := d.socket != nil || d.shut
	d.mu.Unlock()
	if done {
		return true
	}
	l, err := d.spec.Passed, error(nil)
	if l == nil {
		if d.spec.TLS != nil && d.live.Load() == nil {
			return false
		}
		l, err = d.spec.Open()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
	switch {
	case err != nil:
		return false
	case d.shut:
		_ = l.Close()
	default:
		d.socket = l
		close(d.opened)
	}
	return true
}

// readFiles reads the certificate files if something is wrong with what is
// served and the files look different, or a minute has passed.
func (d *Door) readFiles(at, now time.Time) {
	if d.spec.TLS == nil {
		return
	}
	if cert := d.state(); cert.good(now) {
		return
	}
	// Looked at before they are read: whatever changes from then on is seen next time.
	files := look(d.source)
	if d.read.IsZero() || at.Sub(d.read) >= readAgain || !same(files, d.files) {
		d.files, d.read = files, at
		d.take(tlsfile.Server(d.source))
	}
}

// good tells that there is nothing that other files could mend.
func (c *certificate) good(now time.Time) bool {
	if c.served == (tlsfile.Validity{}) || c.pair != nil || c.clients != nil {
		return false
	}
	phase := c.served.At(now)
	return phase != tlsfile.Expired && phase != tlsfile.NotYetValid
}

func (d *Door) state() certificate {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cert
}

// take puts in force what was read. Without a pair the one from before stays, and only the
// client authorities are those that were read: files that are no longer good admit nobody.
func (d *Door) take(s tlsfile.Served, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.cert.pair = err; err != nil {
		if live := d.live.Load(); live != nil {
			t := live.Clone()
			t.ClientCAs, t.VerifyConnection = s.Config.ClientCAs, s.Config.VerifyConnection
			d.cert.clients = s.Authority
			d.live.Store(t)
		}
		return
	}
	if d.spec.Shape != nil {
		d.spec.Shape(s.Config)
	}
	d.cert.served, d.cert.clients = s.Validity, s.Authority
	d.live.Store(s.Config)
}
