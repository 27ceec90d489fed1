// Package tlsfile turns the PEM files that the configuration names into what
// crypto/tls works with: key pairs, pools of authorities, the TLS of a
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

// Pool reads the certificates of authorities. A file without any is an error:
// an empty pool would refuse everybody and say nothing.
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

// Served is what a listener shows to its clients.
type Served struct {
	Config *tls.Config
	Validity
	// Authority is why the file of client authorities cannot be used; nil if it
	// can, or none is named. Config then refuses every client certificate.
	Authority error
}

// Server reads the TLS of a listener. The certificate's validity is not judged:
// its clients judge it by their own clocks, and a gateway whose clock is wrong would shut them
// out for nothing. An error means that there is no pair to serve; Config and Authority then
// hold only what the file of client authorities asks for.
//
// Client certificates are asked for and not verified here: which of them proves whom is the
// registry's business (identity). Tickets are off, so that a revoked certificate cannot come
// back by resumption.
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
		if t.ClientCAs, s.Authority = Pool(c.ClientCA); s.Authority != nil { // names the authorities to clients that choose by them
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

// Live is a listener's TLS, which can be replaced: handshakes from then on see
// the new one, connections stay as they are. Until the first Store every handshake fails.
type Live struct{ atomic.Pointer[tls.Config] }

// ErrNoCertificate ends every handshake of a Live that holds nothing yet.
var ErrNoCertificate = errors.New("the listener has no certificate yet")

// Config is what the listener is given, once.
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

// Client is an HTTPS client that trusts ca, or the system's authorities when
// ca is empty, and follows no redirect: an answer from elsewhere is not the cloud's.
func Client(ca config.File) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	t.ForceAttemptHTTP2 = true
	if ca != "" {
		pool, err := Pool(ca)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = pool
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: t, CheckRedirect: stay}, nil
}
