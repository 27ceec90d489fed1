package tlsfile

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// Trusting is t with the authorities of a file, which is read before the first request: as long as it
// cannot be, every request fails by its name and the next one reads it again. An empty ca is the
// system's authorities, and t itself.
func Trusting(ca config.File, t *http.Transport) http.RoundTripper {
	if ca == "" {
		return t
	}
	return &trusting{ca: ca, to: t}
}

type trusting struct {
	ca config.File
	to *http.Transport // nothing is sent over it before its authorities are set

	mu   sync.Mutex
	read bool // guarded by mu; the authorities of to are set
}

// RoundTrip implements http.RoundTripper.
func (t *trusting) RoundTrip(r *http.Request) (*http.Response, error) {
	if err := t.authorities(); err != nil {
		if r.Body != nil {
			_ = r.Body.Close() // as the contract of RoundTripper wants
		}
		return nil, fmt.Errorf("the authorities of the server: %w", err)
	}
	return t.to.RoundTrip(r)
}

func (t *trusting) authorities() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.read {
		return nil
	}
	pool, err := Pool(t.ca)
	if err == nil {
		t.to.TLSClientConfig.RootCAs, t.read = pool, true
	}
	return err
}

// CloseIdleConnections is what http.Client's asks for.
func (t *trusting) CloseIdleConnections() { t.to.CloseIdleConnections() }
