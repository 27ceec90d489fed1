package manifest_test

import (
	"errors"
	"testing"

	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
)

// An operator's own roots sign manifests, and neither make nor block root key packages.
func TestExtraRoots(t *testing.T) {
	vendor, own := freshAuthority(t), freshAuthority(t)
	v := manifest.NewVerifier(manifest.Options{Roots: vendor.Roots(), Extra: own.Roots(), AllowTestPackages: true})
	if _, err := v.UsePackage(own.RootKeyPackage(manifesttest.Package{Version: 9})); !errors.Is(err, manifest.ErrRefused) {
		t.Errorf("a package of the extra roots: %v, want a refusal", err)
	}
	if _, err := v.UsePackage(vendor.RootKeyPackage(manifesttest.Package{Version: 1})); err != nil {
		t.Errorf("a package of the built-in roots: %v", err)
	}
}

func freshAuthority(t *testing.T) *manifesttest.Authority {
	t.Helper()
	a, err := manifesttest.New()
	if err != nil {
		t.Fatal(err)
	}
	return a
}
