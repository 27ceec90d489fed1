package gateway

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// An old file, or a test package of a time that trusted them, keeps no gateway
// from starting; and neither takes back what a later package disabled.
func TestAnOldRootKeyPackageStopsNoGateway(t *testing.T) {
	authority, err := manifesttest.New()
	if err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.TempDir(), store.Options{MinFree: 1, Log: slog.New(slog.DiscardHandler), Free: func(string) (uint64, error) { return 1 << 40, nil }})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-done
		_ = s.Close()
	})
	file := filepath.Join(t.TempDir(), "package.json")
	start := func(trustTest bool, p *manifesttest.Package) (*manifest.Verifier, *daemon, error) {
		t.Helper()
		d := &daemon{store: s, log: slog.New(slog.DiscardHandler), health: health.New(time.Now)}
		if p != nil {
			d.cfg.DeviceUpdate.RootKeyPackage = config.File(file)
			if err := os.WriteFile(file, authority.RootKeyPackage(*p), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		v := manifest.NewVerifier(manifest.Options{Roots: authority.Roots(), AllowTestPackages: trustTest})
		err := d.useRootKeyPackage(v)
		stored := make(chan struct{}) // what was put before is committed
		s.Bucket("updates").Delete("no such key", func(error) { close(stored) })
		<-stored
		return v, d, err
	}
	warned := func(d *daemon) bool { return len(d.health.Report().Warnings) > 0 }

	if _, _, err := start(true, &manifesttest.Package{Version: 1, Test: true}); err != nil {
		t.Fatal(err)
	}
	if v, _, err := start(false, nil); err != nil || v.Package() != nil {
		t.Errorf("a stored test package: %v, in use %v", err, v.Package())
	}
	if _, _, err := start(false, &manifesttest.Package{Version: 3}); err != nil {
		t.Fatal(err)
	}
	v, d, err := start(false, &manifesttest.Package{Version: 2})
	if err != nil || v.Package().Version != 3 || !warned(d) {
		t.Errorf("an older file: %v, version %d in use, warned: %v", err, v.Package().Version, warned(d))
	}
	if _, d, err := start(false, &manifesttest.Package{Version: 3}); err != nil || warned(d) {
		t.Errorf("the same again: %v, warned: %v", err, warned(d))
	}
	if _, _, err := start(false, &manifesttest.Package{Version: 4, Test: true}); err == nil {
		t.Error("a configured test package is used, and not trusted")
	}
}
