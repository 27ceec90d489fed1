package gateway

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// keyring holds the key set by which tokens are verified. It is fetched now
// and then, and the last good one is stored for the time without a cloud. A
// fetch that fails or brings nothing usable changes nothing.
type keyring struct {
	url    string
	client *http.Client
	bucket keyStore
	log    *slog.Logger
	report func(error)
	// changed is called when a set with other keys came into use: who was
	// proved by a key that is gone must be looked at again.
	changed func()

	current []byte // as text; touched by newKeyring and Run only
	keys    atomic.Pointer[jwt.Keys]
}

var errNoKeys = errors.New("the key set holds no usable key")

// keyStore keeps the last good set.
type keyStore interface {
	Get(key string) ([]byte, error)
	Put(key string, value []byte, done func(error))
}

const (
	keySetName    = "jwks"
	refreshKeys   = time.Hour
	retryKeys     = 30 * time.Second
	maxKeySetSize = 1 << 20
)

func newKeyring(c config.JWKS, bucket keyStore, client *http.Client, log *slog.Logger, report func(error), changed func()) (*keyring, error) {
	k := &keyring{url: c.URL, client: client, bucket: bucket, log: log, report: report, changed: changed}
	k.keys.Store(&jwt.Keys{})
	if c.File != "" {
		text, err := os.ReadFile(string(c.File))
		if err != nil {
			return nil, err
		}
		return k, k.use(text)
	}
	text, err := bucket.Get(keySetName)
	if errors.Is(err, store.ErrNotFound) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	if err := k.use(text); err != nil {
		log.Warn("the stored key set is not usable", "err", err)
	}
	return k, nil
}

// Keys is the set of the moment.
func (k *keyring) Keys() jwt.Keys { return *k.keys.Load() }

func (k *keyring) use(text []byte) error {
	set, skipped, err := jwt.ParseKeys(text)
	if err != nil {
		return err
	}
	for _, s := range skipped {
		k.log.Warn("a signing key is not used", "err", s)
	}
	if set.Len() == 0 {
		return errNoKeys
	}
	k.keys.Store(&set)
	if k.current != nil && !bytes.Equal(k.current, text) {
		k.changed()
	}
	k.current = text
	return nil
}

// Run fetches the set again and again; without a URL it only waits.
func (k *keyring) Run(ctx context.Context) error {
	defer k.client.CloseIdleConnections()
	for {
		wait := refreshKeys
		if k.url == "" {
			<-ctx.Done()
			return nil
		}
		err := k.fetch(ctx)
		if ctx.Err() != nil {
			return nil //nolint:nilerr // being told to stop is no error
		}
		if err != nil {
			wait = retryKeys
		}
		k.report(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (k *keyring) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.url, nil)
	if err != nil {
		return err
	}
	res, err := k.client.Do(req)
	if err != nil {
		return fmt.Errorf("fetch the key set: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxKeySetSize))
	if err != nil {
		return fmt.Errorf("fetch the key set: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch the key set: %s answered %s", k.url, res.Status)
	}
	if err := k.use(text); err != nil {
		return fmt.Errorf("fetch the key set: %w", err)
	}
	k.bucket.Put(keySetName, text, func(err error) {
		if err != nil {
			k.log.Warn("the key set is in use but not stored", "err", err)
		}
	})
	return nil
}

// cloudClient is an HTTPS client that trusts ca, or the system's authorities, and follows no redirect:
// an answer from elsewhere is not the cloud's.
func cloudClient(ca config.File) (*http.Client, error) {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	t.ForceAttemptHTTP2 = true
	if ca != "" {
		pool, err := certificatePool(ca)
		if err != nil {
			return nil, err
		}
		t.TLSClientConfig.RootCAs = pool
	}
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, nil
}

func certificatePool(file config.File) (*x509.CertPool, error) {
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
