package listeners

import (
	"crypto/tls"
	stdx509 "crypto/x509"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start is when the tests begin; certificates are issued around it.
var start = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// site is a set of doors with a clock of its own and files in a directory of its own.
type site struct {
	t     *testing.T
	set   *Set
	now   time.Time // the clock by which certificates are judged
	paced time.Time // the time of the last round
	dir   string
	ca    x509.Pair
	last  map[string]Finding // by name; of the last report
	// issued counts the pairs that were written: each has its own time of change, however coarse
	// the file system's clock is.
	issued int
}

func newSite(t *testing.T) *site {
	t.Helper()
	ca, err := x509.NewCA("site", start.AddDate(-10, 0, 0), 100*365*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	s := &site{
		t:     t,
		now:   start,
		paced: time.Now(),
		dir:   t.TempDir(),
		ca:    ca,
		last:  map[string]Finding{},
	}
	s.set = New(func() time.Time { return s.now }, func(all []Finding) {
		for _, f := range all {
			s.last[f.Name] = f
		}
	})
	t.Cleanup(func() { _ = s.set.Close() })
	return s
}

// round tries every door once, at d after the last round.
func (s *site) round(d time.Duration) {
	s.paced = s.paced.Add(d)
	s.set.round(s.paced)
}

// issue writes a server certificate that is valid from and until, relative to start.
func (s *site) issue(cert, key string, from, until time.Duration) {
	s.t.Helper()
	p, err := s.ca.Server(start.Add(from), until-from, "localhost")
	if err != nil {
		s.t.Fatal(err)
	}
	chain, secret, err := p.PEM()
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(cert, chain)
	s.put(key, secret)
	s.issued++
	changed := start.Add(time.Duration(s.issued) * time.Minute)
	for _, name := range []string{cert, key} {
		if err := os.Chtimes(filepath.Join(s.dir, name), changed, changed); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *site) put(name string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) tls(cert, key string) *config.TLS {
	return &config.TLS{Cert: config.File(filepath.Join(s.dir, cert)), Key: config.SecretFile(filepath.Join(s.dir, key))}
}

// add makes a TCP door named "door" on a free port of loopback.
func (s *site) add(t *config.TLS) *Door {
	return s.set.Add(Spec{
		Name:    "door",
		Warning: "door",
		Level:   Failing,
		Address: "127.0.0.1:0",
		Open:    TCP("127.0.0.1:0"),
		TLS:     t,
	})
}

func (s *site) raised(name string) bool { return s.last[name].Raised }

// isOpen reports whether a client can connect.
func isOpen(d *Door) bool {
	select {
	case <-d.Opened():
		return true
	default:
		return false
	}
}

// handshake connects to the door, as a client that believes the clock says now,
// and returns the certificate that it was shown. own is the client's; nil: none.
func (s *site) handshake(d *Door, now time.Time, own *x509.Pair) (*stdx509.Certificate, error) {
	s.t.Helper()
	served := make(chan error, 1)
	go func() {
		conn, err := d.Accept()
		if err != nil {
			served <- err
			return
		}
		tc := tls.Server(conn, d.TLS())
		err = tc.Handshake()
		served <- err
		_ = tc.Close()
	}()
	pool := stdx509.NewCertPool()
	pool.AddCert(s.ca.Cert)
	c := &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12, Time: func() time.Time { return now }}
	if own != nil {
		c.Certificates = []tls.Certificate{{Certificate: [][]byte{own.Cert.Raw}, PrivateKey: own.Key}}
	}
	conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", d.Addr().String())
	if err != nil {
		s.t.Fatal(err)
	}
	client := tls.Client(conn, c)
	err = client.Handshake()
	seen := client.ConnectionState().PeerCertificates
	_ = client.Close()
	if refused := <-served; err == nil {
		err = refused
	}
	if err != nil || len(seen) == 0 {
		return nil, err
	}
	return seen[0], nil
}
