// Package tlsfile reads the PEM files that the configuration names and turns them into
// values of crypto/tls: key pairs, pools of authorities, the configuration of a
// listener, and an HTTPS client for the cloud.
//
// Every function reads its files anew at each call and keeps nothing. An error
// names the file.
package tlsfile

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync/atomic"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// Pair reads a certificate chain and the private key of its first certificate.
func Pair(cert config.File, key config.SecretFile) (tls.Certificate, error) {
	chain, err := os.ReadFile(string(cert))
	if err != nil {
		return tls.Certificate{}, err
	}
	secret, err := key.Read()
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(chain, secret)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s: %w", cert, key, err)
	}
	return pair, nil
}

// Pool reads the certificates of authorities. A file without any is an error, because an
// empty pool would refuse every certificate and nobody would be told why.
func Pool(file config.File) (*x509.CertPool, error) {
	pem, err := os.ReadFile(string(file))
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", file)
	}
	return pool, nil
}

// Served is the TLS configuration of a listener, and what was found out about its files.
type Served struct {
	Config *tls.Config
	Validity
	// Authority says why the file of client authorities cannot be used; Config then
	// refuses every client certificate. It is nil if the file can be used, or none is named.
	Authority error
}

// Server reads the TLS files of a listener. A certificate that has expired or is not yet valid is
// no error: clients judge it by their own clocks, and a gateway whose clock is wrong would
// otherwise shut them out for nothing. An error means that there is no certificate and key to
// serve; Config then has no certificate, but the settings for client authorities are complete.
//
// Client certificates are requested and not verified here, because the registry says which
// certificate authenticates which device (package identity). Session tickets are off, so that a
// client whose certificate was revoked cannot resume a session without showing it again.
func Server(c *config.TLS) (Served, error) {
	t := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
	}
	if c.MinVersion == "1.3" {
		t.MinVersion = tls.VersionTLS13
	}
	s := Served{Config: t}
	if c.ClientCA != "" {
		// ClientCAs only tells clients which authorities' certificates to choose from.
		if t.ClientCAs, s.Authority = Pool(c.ClientCA); s.Authority != nil {
			t.VerifyConnection = refuseCertificates
		}
	}
	pair, err := Pair(c.Cert, c.Key)
	if err != nil {
		return s, err
	}
	t.Certificates, s.Validity = []tls.Certificate{pair}, Validity{pair.Leaf.NotBefore, pair.Leaf.NotAfter}
	return s, nil
}

// ErrNoAuthorities ends a handshake in which the client shows a certificate
// while the listener's file of client authorities cannot be read.
var ErrNoAuthorities = errors.New("client certificates are refused: the file of their authorities cannot be read")

func refuseCertificates(s tls.ConnectionState) error {
	if len(s.PeerCertificates) > 0 {
		return ErrNoAuthorities
	}
	return nil
}

// Live holds a listener's TLS configuration, which can be replaced while the listener runs: later
// handshakes use the new one, and existing connections stay as they are. Until the first
// Store every handshake fails.
type Live struct{ atomic.Pointer[tls.Config] }

// ErrNoCertificate ends every handshake before the first Store of a Live.
var ErrNoCertificate = errors.New("the listener has no certificate yet")

// Config returns the configuration to open the listener with. It looks up the current one at each
// handshake.
func (l *Live) Config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if t := l.Load(); t != nil {
				return t, nil
			}
			return nil, ErrNoCertificate
		},
	}
}

// Client returns an HTTPS client that trusts ca as Trusting does. It follows no redirect, because the
// answer of another host is not the cloud's.
func Client(ca config.File) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	t.ForceAttemptHTTP2 = true
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: Trusting(ca, t), CheckRedirect: stay}
}
