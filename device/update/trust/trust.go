// Package trust makes the verifier of update manifests from files, and keeps
// over restarts which root key package was seen last: a key that a package
// once disabled stays disabled (docs/spec/semantics.md 5.4). Without that, an old package,
// genuine and signed, would bring a compromised key back.
package trust

import (
	"fmt"
	"log/slog"
	"os"

	"github.com/gatehouse/gatehouse/device/update/manifest"
)

// NewVerifier trusts the production roots. extraRoots, if not "", is a file
// with a JWK Set of RSA keys that may sign manifests as well; testPackages
// accepts root key packages that are marked as tests. Both are for development.
func NewVerifier(extraRoots string, testPackages bool) (*manifest.Verifier, error) {
	o := manifest.Options{Roots: manifest.ProductionRoots(), AllowTestPackages: testPackages}
	if extraRoots != "" {
		text, err := os.ReadFile(extraRoots) //nolint:gosec // the operator names the file
		if err != nil {
			return nil, err
		}
		if o.Extra, err = manifest.ParseRoots(text); err != nil {
			return nil, err
		}
	}
	return manifest.NewVerifier(o), nil
}

// Bucket keeps one value for each key over restarts. done is called after the
// value is synced.
type Bucket interface {
	Put(key string, value []byte, done func(error))
	Load(yield func(key string, value []byte) error) error
}

// packageKey is the key in the bucket of the root key package seen last.
const packageKey = "root-key-package"

// Packages remembers root key packages.
type Packages struct {
	Bucket Bucket
	Log    *slog.Logger
}

// Restore applies the package seen last, if there is one. A test package that was
// seen while such packages were trusted is left out with a warning, because
// refusing to start would take a whole building offline for it.
func (p Packages) Restore(v *manifest.Verifier) error {
	return p.Bucket.Load(func(key string, raw []byte) error {
		if key != packageKey {
			return nil
		}
		_, err := v.UsePackage(raw)
		if manifest.CodeOf(err) == manifest.TestPackage {
			p.Log.Warn("the stored root key package is a test package, which is not trusted any more")
			return nil
		}
		if err != nil {
			return fmt.Errorf("the stored root key package: %w", err)
		}
		return nil
	})
}

// Use applies the package in a file and remembers it; call Restore first. A file that is older
// than the package in use, as after a restored backup, changes nothing: older is true then,
// for the operator to hear of, and no error keeps the gateway from starting.
func (p Packages) Use(v *manifest.Verifier, file string) (older bool, err error) {
	raw, err := os.ReadFile(file) //nolint:gosec // the operator names the file
	if err != nil {
		return false, err
	}
	if _, err = v.UsePackage(raw); manifest.CodeOf(err) == manifest.OldPackage {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	p.Bucket.Put(packageKey, v.Package().Raw, func(err error) {
		if err != nil {
			p.Log.Error("the root key package is in use but not stored", "err", err)
		}
	})
	return false, nil
}
