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

// samples is a folder of signed manifests, root key packages and twin documents that were not made by the
// run of the test: they hold what is verified to the bytes that others have.
type samples struct {
	dir string
	// right knows the roots that signed most of the folder; other does not, and it alone knows the roots
	// whose id ends in ofOther, if that is not empty.
	right, other *manifest.Verifier
	ofOther      string

	edited  string   // a file in negative: a valid signature beside a manifest that was edited later
	payload string   // a file in payloads: a deployment as a device receives it
	valid   string   // is part of the name of the one root key package that is valid
	signed  string   // a folder in manifests, whose signing key has the hashes
	hashes  []string // SHA-256 of the signing key as PKCS#1 and as SubjectPublicKeyInfo, base64url
}

// eachSamples runs a test for the project's own samples, and for the genuine ones where these lie beside
// the repository. Those belong to others, and are therefore no part of it.
func eachSamples(t *testing.T, test func(*testing.T, samples)) {
	t.Helper()
	t.Run("own", func(t *testing.T) { test(t, own(t)) })
	if dir := genuineFolder(t); dir != "" {
		t.Run("genuine", func(t *testing.T) { test(t, genuine(t, dir)) })
	}
}

func own(t testing.TB) samples {
	t.Helper()
	dir := filepath.Join("testdata", "samples")
	if *updateSamples {
		writeSamples(t, dir)
	}
	var hashes []string
	if err := json.Unmarshal(read(t, dir, "hashes.json"), &hashes); err != nil {
		t.Fatal(err)
	}
	return samples{
		dir:     dir,
		right:   manifest.NewVerifier(manifest.Options{Roots: rootsIn(t, dir, "own")}),
		other:   manifest.NewVerifier(manifest.Options{}),
		edited:  "edited.json",
		payload: "deployment.json",
		valid:   "valid",
		signed:  "v5",
		hashes:  hashes,
	}
}

func genuine(t testing.TB, dir string) samples {
	t.Helper()
	return samples{
		dir:     dir,
		right:   manifest.NewVerifier(manifest.Options{}),
		other:   manifest.NewVerifier(manifest.Options{Roots: rootsIn(t, dir, "ADU.200702.R.T", "ADU.200703.R.T")}),
		ofOther: ".T",
		edited:  "hash-mismatch-azure-sdk-for-c-adu_request_payload.json",
		payload: "netxduo-g_adu_agent_new_udpate_1.json",
		valid:   "GENUINE",
		signed:  "03-ADU200702R-v5-IoTDevice_7_0_1",
		hashes:  []string{"q5xF2ARjhdtH-kaLNTwZAMoXdy0iJQjziQ_AyZWDPRA", "Y0jA4rDItwp5NIZYPUP8jAQoXIRPSKCDo4xtiWjyvig"},
	}
}

// genuineFolder is "" where there is none.
func genuineFolder(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		sibling := filepath.Join(filepath.Dir(dir), "shared", "vectors", "device-update")
		if _, err := os.Stat(sibling); err == nil {
			return sibling
		}
	}
	return ""
}

func read(t testing.TB, path ...string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(path...))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func rootsIn(t testing.TB, dir string, names ...string) []manifest.RootKey {
	t.Helper()
	var roots []manifest.RootKey
	for _, name := range names {
		r, err := manifest.ParseRoots(read(t, dir, "rootkeys", name+".jwk.json"))
		if err != nil {
			t.Fatal(err)
		}
		roots = append(roots, r...)
	}
	return roots
}

type info struct {
	File                      string            `json:"file"`
	RootKid                   string            `json:"rootKid"`
	SigningKid                string            `json:"signingKid"`
	RootSignatureValid        bool              `json:"rootSignatureValid"`
	JWSSignatureValid         bool              `json:"jwsSignatureValid"`
	ManifestBytesMatchPayload bool              `json:"manifestBytesMatchPayloadSha256"`
	ManifestVersion           string            `json:"manifestVersion"`
	UpdateID                  manifest.UpdateID `json:"updateId"`
}

func TestGenuineManifests(t *testing.T) {
	eachSamples(t, func(t *testing.T, s samples) {
		var index []info
		if err := json.Unmarshal(read(t, s.dir, "index.json"), &index); err != nil {
			t.Fatal(err)
		}
		seen := 0
		for _, in := range index {
			if strings.HasPrefix(in.File, "manifests/") {
				seen++
				t.Run(filepath.Base(in.File), func(t *testing.T) { checkManifest(t, s, in) })
			}
		}
		if seen < 3 {
			t.Fatalf("only %d manifests found", seen)
		}
	})
}

func checkManifest(t *testing.T, s samples, in info) {
	text := read(t, s.dir, in.File, "updateManifest.txt")
	sig := strings.TrimSpace(string(read(t, s.dir, in.File, "updateManifestSignature.txt")))
	right, wrong := s.right, s.other
	if s.ofOther != "" && strings.HasSuffix(in.RootKid, s.ofOther) {
		right, wrong = wrong, right
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
}

func TestGenuineNegatives(t *testing.T) {
	eachSamples(t, func(t *testing.T, s samples) {
		_, err := s.right.VerifySignature([]byte("{}"), strings.TrimSpace(string(read(t, s.dir, "negative", "bad-signature.jws"))))
		if manifest.CodeOf(err) != manifest.BadSignature || !strings.Contains(err.Error(), "signing key did not sign") {
			t.Errorf("bad signature: %v", err)
		}
		text, sig := deployment(t, filepath.Join(s.dir, "negative", s.edited), "service")
		if _, _, err := s.right.Verify([]byte(text), sig); manifest.CodeOf(err) != manifest.HashMismatch {
			t.Errorf("edited manifest: %v", err)
		}
	})
}

// deployment is the manifest and its signature in a twin document.
func deployment(t *testing.T, file string, path ...string) (text, sig string) {
	t.Helper()
	doc, err := strictjson.Parse(read(t, file), strictjson.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	text, _ = doc.At(path...).Get("updateManifest").Str()
	sig, _ = doc.At(path...).Get("updateManifestSignature").Str()
	return text, sig
}

func TestGenuinePayload(t *testing.T) {
	eachSamples(t, func(t *testing.T, s samples) {
		file := filepath.Join(s.dir, "payloads", s.payload)
		text, sig := deployment(t, file, "deviceUpdate", "service")
		m, _, err := s.right.Verify([]byte(text), sig)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := strictjson.Parse(read(t, file), strictjson.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		urls := doc.At("deviceUpdate", "service", "fileUrls")
		if len(urls.Members()) == 0 {
			t.Fatal("the deployment names no file")
		}
		if err := m.CheckFiles(urls, manifest.Hosts{}); err != nil {
			t.Error(err)
		}
	})
}

// One package of each folder is valid, and its name says so.
func TestGenuineRootKeyPackages(t *testing.T) {
	eachSamples(t, func(t *testing.T, s samples) {
		refused := 0
		err := filepath.WalkDir(filepath.Join(s.dir, "rootkeypackages"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			p, err := s.right.UsePackage(read(t, path))
			if strings.Contains(d.Name(), s.valid) {
				if err != nil || p.Version != 1 {
					t.Errorf("%s: %v", d.Name(), err)
				}
				return nil
			}
			refused++
			if !errors.Is(err, manifest.ErrRefused) {
				t.Errorf("%s: %v, want a refusal", d.Name(), err)
			}
			return nil
		})
		if err != nil || s.right.Package() == nil || refused < 2 {
			t.Fatalf("%v, package %v, %d others", err, s.right.Package(), refused)
		}
	})
}

// Both documented forms of the hash of a signing key disable it
// (docs/spec/device-update.md 4.2).
func TestBothHashFormsOfAGenuineKey(t *testing.T) {
	eachSamples(t, func(t *testing.T, s samples) {
		sig := strings.TrimSpace(string(read(t, s.dir, "manifests", s.signed, "updateManifestSignature.txt")))
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
		if len(s.hashes) != len(got) {
			t.Fatalf("%d hashes are known, want %d", len(s.hashes), len(got))
		}
		for i, want := range s.hashes {
			if h := base64.RawURLEncoding.EncodeToString(got[i][:]); h != want {
				t.Errorf("form %d: %s, want %s", i, h, want)
			}
		}
	})
}
