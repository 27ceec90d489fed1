package main

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/gatehouse/gatehouse/cmd/managementd/internal/hub"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/sync/management"
)

// serve builds the server and runs it until ctx ends. Stop order: the long polls are
// released, then the API drains, then the hub, then the store closes.
func serve(ctx context.Context, s settings, restored bool, log *slog.Logger) error {
	cert, err := tls.LoadX509KeyPair(string(s.TLS.Cert), string(s.TLS.Key))
	if err != nil {
		return fmt.Errorf("tls: %w", err)
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}}
	signer, err := loadSigner(s)
	if err != nil {
		return fmt.Errorf("issuer.key: %w", err)
	}
	kv, err := store.OpenKV(string(s.State), store.Options{Log: log})
	if err != nil {
		return err
	}
	defer func() {
		if err := kv.Close(); err != nil {
			log.Error("the store did not close cleanly", "err", err)
		}
	}()
	authority, err := newAuthority(s, signer)
	if err != nil {
		return err
	}
	callers, err := newCallers(s, signer, authority)
	if err != nil {
		return err
	}
	api, err := management.New(management.Options{
		Store:             kvStore{kv},
		HomeTenant:        s.Tenant,
		HubHost:           s.HubHost,
		Restored:          restored,
		ServicePrincipal:  authority.ServicePrincipal,
		Authenticate:      callers.authenticate,
		RequestsPerSecond: s.RequestsPerSecond,
		Log:               log,
	})
	if err != nil {
		return err
	}
	callers.api = api
	if err := seedOnce(api, s, log); err != nil {
		return err
	}

	azure, err := newARM(s, callers, log)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/management/", api)
	mux.Handle("/", authority)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, api.Version()) })

	listener, err := listen(ctx, "listen", s.Listen)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	group, ctx := errgroup.WithContext(ctx)
	if s.Hub.Listen != "" {
		hubListener, err := listen(ctx, "hub.listen", s.Hub.Listen)
		if err != nil {
			return err
		}
		defer func() { _ = hubListener.Close() }() // for a start that fails before the hub takes it over
		devHub, err := newHub(s, api, tlsConfig, hubListener, log)
		if err != nil {
			return err
		}
		mux.Handle("/hub/", devHub.Handler())
		group.Go(func() error { return devHub.Run(ctx) })
	}
	if s.Issuer.IdentityListen != "" {
		local, err := listen(ctx, "issuer.identityListen", s.Issuer.IdentityListen)
		if err != nil {
			return err
		}
		defer func() { _ = local.Close() }()
		serveHTTP(ctx, group, local, authority.Local(), log, func() {})
	}
	serveHTTP(ctx, group, tls.NewListener(listener, tlsConfig.Clone()), withARM(azure, mux), log, api.Release)
	log.Info("managementd serves", "api", "https://"+s.Listen+"/management/api/v1.0", "hub", s.Hub.Listen, "version", version,
		"policy", api.Version().String())
	return group.Wait()
}

// serveHTTP serves until ctx ends; release is called before the requests that are open are waited for.
func serveHTTP(ctx context.Context, group *errgroup.Group, l net.Listener, h http.Handler, log *slog.Logger, release func()) {
	server := &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	group.Go(func() error {
		err := server.Serve(l)
		if errors.Is(err, http.ErrServerClosed) {
			return nil
		}
		return err
	})
	group.Go(func() error {
		<-ctx.Done()
		release()
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		if err := server.Shutdown(drain); err != nil {
			return server.Close()
		}
		return nil
	})
}

// listen opens the address of a setting. When another process has the port, the error says so and names the setting.
func listen(ctx context.Context, field, address string) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("%s: %s is taken by another process: end it (ss -ltnp names it), or choose another address", field, address)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	return l, nil
}

// loadSigner reads the issuer's key, making one the first time.
func loadSigner(s settings) (*jwt.Issuer, error) {
	file := string(s.Issuer.Key)
	text, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		if text, err = newSigningKey(file); err != nil {
			return nil, err
		}
	} else if err != nil {
		return nil, err
	}
	key, err := jwt.UnmarshalKey(text)
	if err != nil {
		return nil, err
	}
	return jwt.NewIssuer(key, s.Tenant, s.Issuer.URL, time.Now)
}

func newSigningKey(file string) ([]byte, error) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	text, err := jwt.MarshalKey(key)
	if err != nil {
		return nil, err
	}
	return text, writeSecret(file, text)
}

// writeSecret writes a file that only its owner reads, wholly or not at all.
func writeSecret(file string, b []byte) error {
	f, err := os.CreateTemp(filepath.Dir(file), ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // fails when the file has been renamed, as it should
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), file)
}

func newHub(s settings, api *management.Server, tlsConfig *tls.Config, listener net.Listener, log *slog.Logger) (*hub.Hub, error) {
	authority, err := loadAuthority(s)
	if err != nil {
		return nil, fmt.Errorf("hub.signingRoot: %w", err)
	}
	hubTLS := tlsConfig.Clone()
	hubTLS.ClientAuth = tls.RequestClientCert
	return hub.New(hub.Options{
		Host:   s.HubHost,
		Listen: func() (net.Listener, error) { return listener, nil },
		TLS:    hubTLS,
		Lookup: identities(api),
		Signer: authority,
		Log:    log,
	}), nil
}

// loadAuthority keeps the development update authority beside the state, and publishes its roots.
func loadAuthority(s settings) (*manifesttest.Authority, error) {
	file := filepath.Join(string(s.State), "update-authority.pem")
	text, err := os.ReadFile(file)
	var authority *manifesttest.Authority
	switch {
	case err == nil:
		authority, err = manifesttest.Load(text)
	case errors.Is(err, fs.ErrNotExist):
		if authority, err = manifesttest.New(); err == nil {
			err = writeSecret(file, authority.Marshal())
		}
	}
	if err != nil {
		return nil, err
	}
	if s.Hub.SigningRoot != "" {
		err = os.WriteFile(string(s.Hub.SigningRoot), authority.JWKS(), 0o644)
	}
	return authority, err
}

// kvStore adapts the embedded store to the interface of the management API.
type kvStore struct{ kv *store.KV }

func (k kvStore) Load(yield func(string, []byte) error) error { return k.kv.Load(yield) }

func (k kvStore) Commit(ops []management.Op) error {
	batch := make([]store.KVOp, len(ops))
	for i, o := range ops {
		batch[i] = store.KVOp(o)
	}
	return k.kv.Commit(batch)
}
