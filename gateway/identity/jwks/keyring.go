// Package jwks keeps the key set (JWKS, RFC 7517) by which tokens are verified.
//
// The set comes from a file, or is fetched from a URL every hour; the last good
// one is stored, so that tokens can be verified after a start without a cloud.
// A fetch that fails, or brings no usable key, changes nothing.
package jwks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// Options of a Keyring. All but Source.CA are required; Client is not used
// when the set comes from a file.
type Options struct {
	Source config.JWKS
	Client *http.Client
	Bucket Bucket
	// Absent is the error of Bucket.Get for a key that holds nothing yet.
	Absent error
	Log    *slog.Logger
	// Report is told the outcome of every fetch; nil is a success.
	Report func(error)
	// Changed is called when a set with other keys came into use: who was
	// proved by a key that is gone must be looked at again.
	Changed func()
}

// Bucket keeps the last good set.
type Bucket interface {
	Get(key string) ([]byte, error)
	Put(key string, value []byte, done func(error))
}

// Keyring holds the set in force. Keys and Use may be called from any
// goroutine, Run once.
type Keyring struct {
	o       Options
	current []byte // the set as text; touched by New and Run only
	keys    atomic.Pointer[jwt.Keys]
	waits   atomic.Bool // for the file of the set
}

var errNoKeys = errors.New("the key set holds no usable key")

const (
	keySetName    = "jwks"
	refreshKeys   = time.Hour
	retryKeys     = 30 * time.Second
	readAgain     = 2 * time.Second // to look at a file costs nothing
	maxKeySetSize = 1 << 20
)

// New reads the set from its file, or else the one that was stored last. A file that cannot be used is
// reported, and Run goes on reading it until it can: no token is believed meanwhile. A stored set that
// cannot be used is only logged.
func New(o Options) (*Keyring, error) {
	k := &Keyring{o: o}
	k.keys.Store(&jwt.Keys{})
	if o.Source.File != "" {
		k.waits.Store(true)
		k.readFile()
		return k, nil
	}
	text, err := o.Bucket.Get(keySetName)
	if errors.Is(err, o.Absent) {
		return k, nil
	}
	if err != nil {
		return nil, err
	}
	if err := k.use(text); err != nil {
		o.Log.Warn("the stored key set is not usable", "err", err)
	}
	return k, nil
}

// ReadFile reads a set from a file; it is not in force until Use.
func ReadFile(file config.File) (jwt.Keys, error) {
	text, err := os.ReadFile(string(file))
	if err != nil {
		return jwt.Keys{}, err
	}
	set, _, err := jwt.ParseKeys(text)
	if err == nil && set.Len() == 0 {
		err = errNoKeys
	}
	return set, err
}

// Use puts a set in force that ReadFile has read. Whoever calls it looks at
// live principals again; Changed is not called.
func (k *Keyring) Use(set jwt.Keys) {
	k.keys.Store(&set)
	if k.waits.Swap(false) {
		k.o.Report(nil)
	}
}

// Waits tells that the file of the set could not be used yet.
func (k *Keyring) Waits() bool { return k.waits.Load() }

// readFile reads the set from its file, and reports it.
func (k *Keyring) readFile() {
	text, err := os.ReadFile(string(k.o.Source.File))
	if err == nil {
		err = k.use(text)
	}
	if err == nil {
		k.waits.Store(false)
	}
	k.o.Report(err)
}

// Keys is the set of the moment.
func (k *Keyring) Keys() jwt.Keys { return *k.keys.Load() }

func (k *Keyring) use(text []byte) error {
	set, skipped, err := jwt.ParseKeys(text)
	if err != nil {
		return err
	}
	for _, s := range skipped {
		k.o.Log.Warn("a signing key is not used", "err", s)
	}
	if set.Len() == 0 {
		return errNoKeys
	}
	k.keys.Store(&set)
	if k.current != nil && !bytes.Equal(k.current, text) {
		k.o.Changed()
	}
	k.current = text
	return nil
}

// Run fetches the set again and again. Without a URL it reads the file until it can be used, and then only waits.
func (k *Keyring) Run(ctx context.Context) error {
	defer k.o.Client.CloseIdleConnections()
	for k.waits.Load() {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(readAgain):
			if k.waits.Load() { // a reload may have read another file
				k.readFile()
			}
		}
	}
	for {
		wait := refreshKeys
		if k.o.Source.URL == "" {
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
		k.o.Report(err)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

func (k *Keyring) fetch(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, k.o.Source.URL, nil)
	if err != nil {
		return err
	}
	shown := withoutQuery(req.URL)
	res, err := k.o.Client.Do(req)
	if err != nil {
		if e := (*url.Error)(nil); errors.As(err, &e) {
			e.URL = shown
		}
		return fmt.Errorf("fetch the key set: %w", err)
	}
	defer func() { _ = res.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(res.Body, maxKeySetSize))
	if err != nil {
		return fmt.Errorf("fetch the key set: %w", err)
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("fetch the key set: %s answered %s", shown, res.Status)
	}
	if err := k.use(text); err != nil {
		return fmt.Errorf("fetch the key set: %w", err)
	}
	k.o.Bucket.Put(keySetName, text, func(err error) {
		if err != nil {
			k.o.Log.Warn("the key set is in use but not stored", "err", err)
		}
	})
	return nil
}

// withoutQuery is a URL for an error text. Its query may hold a secret.
func withoutQuery(u *url.URL) string {
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
