package manifest_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest"
)

// vectors is the folder of genuine samples beside the repository; they are
// not part of it, so the tests that need them are skipped without.
func vectors(t testing.TB) string {
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		sibling := filepath.Join(filepath.Dir(dir), "shared", "vectors", "device-update")
		if _, err := os.Stat(sibling); err == nil {
			return sibling
		}
		if dir == filepath.Dir(dir) {
			t.Skip("no genuine samples beside the repository")
		}
		dir = filepath.Dir(dir)
	}
}

func read(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func testRoots(t testing.TB, dir string) []manifest.RootKey {
	var roots []manifest.RootKey
	for _, f := range []string{"ADU.200702.R.T.jwk.json", "ADU.200703.R.T.jwk.json"} {
		r, err := manifest.ParseRoots(read(t, dir, "rootkeys", f))
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, r...)
	}
	return roots
}

type info struct {
	File                      string
	RootKid, SigningKid       string
	RootSignatureValid        bool
	JWSSignatureValid         bool `json:"jwsSignatureValid"`
	ManifestBytesMatchPayload bool `json:"manifestBytesMatchPayloadSha256"`
	ManifestVersion           string
	UpdateID                  manifest.UpdateID
}

func TestGenuineManifests(t *testing.T) {
	dir := vectors(t)
	production := manifest.NewVerifier(manifest.Options{})
	test := manifest.NewVerifier(manifest.Options{Roots: testRoots(t, dir)})
	var index []info
	if err := json.Unmarshal(read(t, dir, "index.json"), &index); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, in := range index {
		if !strings.HasPrefix(in.File, "manifests/") {
			continue
		}
		seen++
		t.Run(filepath.Base(in.File), func(t *testing.T) {
			text := read(t, dir, in.File, "updateManifest.txt")
			sig := strings.TrimSpace(string(read(t, dir, in.File, "updateManifestSignature.txt")))
			right, wrong := production, test
			if strings.HasSuffix(in.RootKid, ".T") {
				right, wrong = test, production
			}
			signer, err := right.VerifySignature(text, sig)
			valid := in.RootSignatureValid && in.JWSSignatureValid && in.ManifestBytesMatchPayload
			if (err == nil) != valid {
				t.Fatalf("signature: %v, want valid %v", err, valid)
			}
			if signer.Root != in.RootKid || signer.Key != in.SigningKid {
				t.Errorf("signer %+v", signer)
			}
			if _, err := wrong.VerifySignature(text, sig); manifest.CodeOf(err) != manifest.UnknownRoot {
				t.Errorf("under the other roots: %v, want %s", err, manifest.UnknownRoot)
			}
			m, _, err := right.Verify(text, sig)
			if in.ManifestVersion != "4" && in.ManifestVersion != "5" {
				if manifest.CodeOf(err) != manifest.UnsupportedVersion {
					t.Errorf("version %s: %v", in.ManifestVersion, err)
				}
				return
			}
			if err != nil || m.ID != in.UpdateID || m.Version != in.ManifestVersion {
				t.Fatalf("%+v, %v", m, err)
			}
			for i := 0; i < len(text); i += 7 {
				edited := append([]byte(nil), text...)
				edited[i] ^= 1
				if _, _, err := right.Verify(edited, sig); manifest.CodeOf(err) != manifest.HashMismatch {
					t.Fatalf("byte %d changed: %v", i, err)
				}
			}
		})
	}
	if seen < 3 {
		t.Fatalf("only %d genuine manifests found", seen)
	}
}

func TestGenuineNegatives(t *testing.T) {
	dir := vectors(t)
	v := manifest.NewVerifier(manifest.Options{})
	_, err := v.VerifySignature([]byte("{}"), strings.TrimSpace(string(read(t, dir, "negative", "bad-signature.jws"))))
	if manifest.CodeOf(err) != manifest.BadSignature || !strings.Contains(err.Error(), "signing key did not sign") {
		t.Errorf("bad signature: %v", err)
	}
	doc, err := strictjson.Parse(read(t, dir, "negative", "hash-mismatch-azure-sdk-for-c-adu_request_payload.json"), strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	text, _ := doc.At("service", "updateManifest").Str()
	sig, _ := doc.At("service", "updateManifestSignature").Str()
	if _, _, err := v.Verify([]byte(text), sig); manifest.CodeOf(err) != manifest.HashMismatch {
		t.Errorf("edited manifest: %v", err)
	}
}

func TestGenuinePayload(t *testing.T) {
	doc, err := strictjson.Parse(read(t, vectors(t), "payloads", "netxduo-g_adu_agent_new_udpate_1.json"), strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	service := doc.At("deviceUpdate", "service")
	text, _ := service.Get("updateManifest").Str()
	sig, _ := service.Get("updateManifestSignature").Str()
	m, _, err := manifest.NewVerifier(manifest.Options{}).Verify([]byte(text), sig)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.CheckFiles(service.Get("fileUrls"), manifest.Hosts{}); err != nil {
		t.Error(err)
	}
}

func TestGenuineRootKeyPackages(t *testing.T) {
	dir := filepath.Join(vectors(t), "rootkeypackages")
	v := manifest.NewVerifier(manifest.Options{})
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		p, err := v.UsePackage(read(t, path))
		if strings.Contains(path, "GENUINE") {
			if err != nil || p.Version != 1 {
				t.Errorf("%s: %v", d.Name(), err)
			}
		} else if !errors.Is(err, manifest.ErrRefused) {
			t.Errorf("%s: %v, want a refusal", d.Name(), err)
		}
		return nil
	})
	if err != nil || v.Package() == nil {
		t.Fatalf("%v, package %v", err, v.Package())
	}
}

// Both documented forms of the hash of a genuine signing key disable it
// (docs/spec/device-update.md 4.2).
func TestBothHashFormsOfAGenuineKey(t *testing.T) {
	dir := vectors(t)
	sample := filepath.Join(dir, "manifests", "03-ADU200702R-v5-IoTDevice_7_0_1")
	sig := strings.TrimSpace(string(read(t, sample, "updateManifestSignature.txt")))
	header, _ := base64.RawURLEncoding.DecodeString(strings.Split(sig, ".")[0])
	doc, err := strictjson.Parse(header, strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	sjwk, _ := doc.Get("sjwk").Str()
	jwk, _ := base64.RawURLEncoding.DecodeString(strings.Split(sjwk, ".")[1])
	got, err := manifest.DisabledHashesOfJWK(jwk)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"q5xF2ARjhdtH-kaLNTwZAMoXdy0iJQjziQ_AyZWDPRA", "Y0jA4rDItwp5NIZYPUP8jAQoXIRPSKCDo4xtiWjyvig"} {
		if h := base64.RawURLEncoding.EncodeToString(got[i][:]); h != want {
			t.Errorf("form %d: %s, want %s", i, h, want)
		}
	}
}
