package listeners

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// Door is a net.Listener whose socket may not be open yet.
type Door struct {
	spec   Spec          // as it was added
	live   tlsfile.Live  // the TLS configuration of handshakes
	opened chan struct{} // closed once socket is set
	closed chan struct{} // closed by Close

	source *config.TLS   // names the certificate files; guarded by Set.attempts
	files  []os.FileInfo // their state just before they were last read; guarded by Set.attempts
	read   time.Time     // when they were last read; guarded by Set.attempts

	mu     sync.Mutex // guards the fields below
	socket net.Listener
	shut   bool
	failed error // what the last Open returned
	cert   certificate
}

// certificate is the state of a door's TLS files.
type certificate struct {
	served  tlsfile.Validity // of the certificate that is served; zero: there is none
	pair    error            // why the files hold no usable certificate and key; nil: they do
	clients error            // why the file of client authorities cannot be used; nil: it can, or none is named
}

// Accept waits until the socket is open, and then for a connection.
func (d *Door) Accept() (net.Conn, error) {
	select {
	case <-d.opened:
		return d.socket.Accept() // without mu: once opened is closed, socket is never written again
	case <-d.closed:
		return nil, net.ErrClosed
	}
}

// Opened is closed once the socket is open.
func (d *Door) Opened() <-chan struct{} { return d.opened }

// Close closes the socket. If it is not open yet, it will not be opened.
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

// Addr is the socket's address, or the configured one while the socket is not open.
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

// TLS is the TLS configuration for the door's connections. Each handshake uses the
// certificate that is in force at that moment. It is nil for a door without TLS.
func (d *Door) TLS() *tls.Config {
	if d.spec.TLS == nil {
		return nil
	}
	return d.live.Config()
}

// open opens the socket if it is not open and, with TLS, there is a certificate to serve. It
// reports whether no further attempt is needed: the socket is open, or the door was closed.
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

// readFiles reads the certificate files again if something is wrong with the state of the
// certificate and, besides, the files look different or were last read a minute ago.
func (d *Door) readFiles(at, now time.Time) {
	if d.spec.TLS == nil {
		return
	}
	if cert := d.state(); cert.good(now) {
		return
	}
	// The files are looked at before they are read, so that a change in between is seen next time.
	files := look(d.source)
	if d.read.IsZero() || at.Sub(d.read) >= readAgain || !same(files, d.files) {
		d.files, d.read = files, at
		d.take(tlsfile.Server(d.source))
	}
}

// good reports whether nothing is wrong that other files could mend.
func (c *certificate) good(now time.Time) bool {
	if c.served == (tlsfile.Validity{}) || c.pair != nil || c.clients != nil {
		return false
	}
	phase := c.served.At(now)
	return phase != tlsfile.Expired && phase != tlsfile.NotYetValid
}

// Certificate is the certificate that new handshakes are served, nil if there is none.
func (d *Door) Certificate() *x509.Certificate {
	if t := d.live.Load(); t != nil && len(t.Certificates) > 0 {
		return t.Certificates[0].Leaf
	}
	return nil
}

func (d *Door) state() certificate {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cert
}

// take puts into force what was read from the files. If they hold no usable certificate, the one
// from before stays. The client authorities are replaced even then, so that a client is never
// admitted by an authority that the files no longer name.
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
