package trust_test

import (
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
	"github.com/gatehouse/gatehouse/device/update/trust"
)

// bucket stores at once.
type bucket map[string][]byte

func (b bucket) Put(key string, value []byte, done func(error)) {
	b[key] = value
	done(nil)
}

func (b bucket) Load(yield func(string, []byte) error) error {
	for k, v := range maps.All(b) {
		if err := yield(k, v); err != nil {
			return err
		}
	}
	return nil
}

// An old file, or a test package of a time that trusted them, keeps no gateway
// from starting; and neither takes back what a later package disabled.
func TestAnOldRootKeyPackageStopsNoGateway(t *testing.T) {
	authority, err := manifesttest.New()
	if err != nil {
		t.Fatal(err)
	}
	packages := trust.Packages{Bucket: bucket{"another key": []byte("no package")}, Log: slog.New(slog.DiscardHandler)}
	file := filepath.Join(t.TempDir(), "package.json")
	start := func(trustTest bool, p *manifesttest.Package) (v *manifest.Verifier, warned bool, err error) {
		t.Helper()
		v = manifest.NewVerifier(manifest.Options{Roots: authority.Roots(), AllowTestPackages: trustTest})
		if err = packages.Restore(v); err != nil || p == nil {
			return v, false, err
		}
		if err := os.WriteFile(file, authority.RootKeyPackage(*p), 0o600); err != nil {
			t.Fatal(err)
		}
		warned, err = packages.Use(v, file)
		return v, warned, err
	}

	if _, _, err := start(true, &manifesttest.Package{Version: 1, Test: true}); err != nil {
		t.Fatal(err)
	}
	if v, _, err := start(false, nil); err != nil || v.Package() != nil {
		t.Errorf("a stored test package: %v, in use %v", err, v.Package())
	}
	if _, _, err := start(false, &manifesttest.Package{Version: 3}); err != nil {
		t.Fatal(err)
	}
	v, warned, err := start(false, &manifesttest.Package{Version: 2})
	if err != nil || v.Package().Version != 3 || !warned {
		t.Errorf("an older file: %v, version %d in use, warned: %v", err, v.Package().Version, warned)
	}
	if _, warned, err := start(false, &manifesttest.Package{Version: 3}); err != nil || warned {
		t.Errorf("the same again: %v, warned: %v", err, warned)
	}
	if _, _, err := start(false, &manifesttest.Package{Version: 4, Test: true}); err == nil {
		t.Error("a configured test package is used, and not trusted")
	}
}

// Extra roots are read from a file; one that cannot be read, or holds no key
// set, is an error, never a verifier that trusts less than was asked for.
func TestExtraRoots(t *testing.T) {
	file := filepath.Join(t.TempDir(), "roots.json")
	if _, err := trust.NewVerifier(file, false); err == nil {
		t.Error("a file that is not there is passed over")
	}
	if err := os.WriteFile(file, []byte("no key set"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.NewVerifier(file, false); err == nil {
		t.Error("a file without a key set is passed over")
	}
	if v, err := trust.NewVerifier("", false); err != nil || v == nil {
		t.Error(err)
	}
}
