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

// Server is the TLS of a listener. Client certificates are asked for and not verified
// here: which of them proves whom is the registry's business (identity). Tickets are off, so that
// a revoked certificate cannot come back by resumption.
func Server(c *config.TLS) (*tls.Config, error) {
	pair, err := Pair(c.Cert, c.Key)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{
		MinVersion:             tls.VersionTLS12,
		Certificates:           []tls.Certificate{pair},
		ClientAuth:             tls.RequestClientCert,
		SessionTicketsDisabled: true,
	}
	if c.MinVersion == "1.3" {
		t.MinVersion = tls.VersionTLS13
	}
	if c.ClientCA != "" {
		if t.ClientCAs, err = Pool(c.ClientCA); err != nil { // names the authorities to clients that choose by them
			return nil, err
		}
	}
	return t, nil
}

// Live is a listener's TLS, which a reload replaces: handshakes from then on
// see the new one, connections stay as they are. Store one before the first handshake.
type Live struct{ atomic.Pointer[tls.Config] }

// Config is what the listener is given, once.
func (l *Live) Config() *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS12,
		SessionTicketsDisabled: true,
		GetConfigForClient:     func(*tls.ClientHelloInfo) (*tls.Config, error) { return l.Load(), nil },
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
