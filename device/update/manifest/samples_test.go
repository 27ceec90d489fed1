package manifest_test

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
)

var updateSamples = flag.Bool("update", false, "write testdata/samples anew, signed by keys that are forgotten afterwards")

// writeSamples makes testdata/samples: three manifests and a deployment, a cancel and a report as they
// travel in a twin, root key packages, and what has to be refused.
func writeSamples(t testing.TB, dir string) {
	t.Helper()
	a, err := manifesttest.New()
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) {
		t.Helper()
		file := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil { //nolint:gosec // sources are for everybody
			t.Fatal(err)
		}
		if err := os.WriteFile(file, append(bytes.TrimSpace(content), '\n'), 0o644); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
	}
	indented := func(v any) []byte {
		t.Helper()
		b, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	var index []info
	for _, version := range []string{"5", "4", "2.0"} {
		u := update
		u.ID.Name = "Sample " + version
		text := bytes.Replace(u.Manifest(), []byte(`"manifestVersion":"5"`), []byte(`"manifestVersion":"`+version+`"`), 1)
		at := "manifests/v" + version
		index = append(index, info{
			File:                      at,
			RootKid:                   manifesttest.RootA,
			SigningKid:                manifesttest.SigningKey,
			RootSignatureValid:        true,
			JWSSignatureValid:         true,
			ManifestBytesMatchPayload: true,
			ManifestVersion:           version,
			UpdateID:                  u.ID,
		})
		write(at+"/updateManifestSignature.txt", []byte(a.Sign(text)))
		// A manifest is signed to its last byte, so that no line end follows.
		if err := os.WriteFile(filepath.Join(dir, at, "updateManifest.txt"), text, 0o644); err != nil { //nolint:gosec // as above
			t.Fatal(err)
		}
	}
	write("index.json", indented(index))
	write("rootkeys/own.jwk.json", a.JWKS())
	write("hashes.json", indented(hashesOf(t, a.SigningPublicKey())))

	text := update.Manifest()
	type object = map[string]any
	component := func(version int, name string, members object) []byte {
		return indented(object{"$version": version, "deviceUpdate": object{"__t": "c", name: members}})
	}
	workflow := object{"action": 3, "id": "6d1f3f1c-0000-4000-8000-000000000003"}
	write("payloads/deployment.json", component(6, "service", object{
		"workflow":                workflow,
		"updateManifest":          string(text),
		"updateManifestSignature": a.Sign(text),
		"fileUrls":                object{update.FileID: "http://samples.b.nlu.dl.adu.microsoft.com/firmware.bin"},
	}))
	write("payloads/cancel.json", component(7, "service", object{"workflow": object{"action": 255, "id": "nodeployment"}}))
	write("payloads/report.json", component(8, "agent", object{
		"state":             0,
		"workflow":          workflow,
		"installedUpdateId": `{"provider":"Contoso","name":"Thermostat","version":"1.1"}`,
		"lastInstallResult": object{"resultCode": 700, "extendedResultCode": 0, "resultDetails": ""},
	}))

	later := bytes.Replace(text, []byte(`"version":"1.1"`), []byte(`"version":"1.2"`), 1)
	write("negative/edited.json", indented(map[string]any{
		"service": map[string]any{"updateManifest": string(later), "updateManifestSignature": a.Sign(text)},
	}))
	sig := []byte(a.Sign([]byte("{}")))
	last := bytes.LastIndexByte(sig, '.') + 10
	sig[last] = map[bool]byte{true: 'B', false: 'A'}[sig[last] == 'A']
	write("negative/bad-signature.jws", sig)

	valid := a.RootKeyPackage(manifesttest.Package{Version: 1})
	write("rootkeypackages/valid.json", valid)
	write("rootkeypackages/for-tests.json", a.RootKeyPackage(manifesttest.Package{Version: 2, Test: true}))
	write("rootkeypackages/edited.json", bytes.Replace(valid, []byte(`"version":1`), []byte(`"version":9`), 1))
	unsigned, _, _ := bytes.Cut(valid, []byte(`,"signatures":`))
	write("rootkeypackages/unsigned.json", append(unsigned, `,"signatures":[]}`...))
}

func hashesOf(t testing.TB, key *rsa.PublicKey) []string {
	t.Helper()
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, der := range [][]byte{x509.MarshalPKCS1PublicKey(key), spki} {
		sum := sha256.Sum256(der)
		list = append(list, base64.RawURLEncoding.EncodeToString(sum[:]))
	}
	return list
}

// TestProductionRoots holds the trust that the product ships with to the published keys: an edited root
// would refuse every genuine update, or accept those of somebody else.
func TestProductionRoots(t *testing.T) {
	want := map[string]string{ // SHA-256 of the modulus, base64url
		"ADU.200702.R": "YkLI5jhfF02KtciW2Z3rM04HAMjXuoTc9lVmjWDo3mY",
		"ADU.200703.R": "bHVGNQkZ5OYFvJT5qyl69g7Vz8HikaKse43T1vJ2wJw",
	}
	roots := manifest.ProductionRoots()
	for _, r := range roots {
		sum := sha256.Sum256(r.Key.N.Bytes())
		if got := base64.RawURLEncoding.EncodeToString(sum[:]); got != want[r.Kid] || r.Key.E != 65537 || r.Key.N.BitLen() != 3072 {
			t.Errorf("%s: %d bits, exponent %d, hash %s", r.Kid, r.Key.N.BitLen(), r.Key.E, got)
		}
	}
	if len(roots) != len(want) {
		t.Errorf("%d roots, want %d", len(roots), len(want))
	}
}
