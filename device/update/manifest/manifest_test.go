package manifest_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
)

var authority = sync.OnceValue(func() *manifesttest.Authority {
	a, err := manifesttest.New()
	if err != nil {
		panic(err)
	}
	return a
})

var update = manifesttest.Update{
	ID: manifest.UpdateID{Provider: "Contoso", Name: "Thermostat", Version: "1.1"}, Manufacturer: "Contoso", Model: "Thermostat",
	FileID: "f000102030405060", FileName: "firmware.bin", Content: []byte("firmware"), Created: "2024-01-01T00:00:00Z",
}

func verifier(t testing.TB) *manifest.Verifier {
	t.Helper()
	roots, err := manifest.ParseRoots(authority().JWKS())
	if err != nil {
		t.Fatal(err)
	}
	return manifest.NewVerifier(manifest.Options{Roots: roots})
}

func wantCode(t *testing.T, name string, err error, want manifest.Code) {
	t.Helper()
	if manifest.CodeOf(err) != want {
		t.Errorf("%s: %v, want %q", name, err, want)
	}
}

func TestOwnAuthority(t *testing.T) {
	text := update.Manifest()
	sig := authority().Sign(text)
	m, signer, err := verifier(t).Verify(text, sig)
	if err != nil {
		t.Fatal(err)
	}
	if m.ID != update.ID || signer.Root != manifesttest.RootA || m.Files[update.FileID].SHA256 != sha256.Sum256(update.Content) {
		t.Errorf("%+v %+v", m, signer)
	}
	_, _, err = manifest.NewVerifier(manifest.Options{}).Verify(text, sig)
	wantCode(t, "production roots", err, manifest.UnknownRoot)
	again, err := manifesttest.Load(authority().Marshal())
	if err != nil || again.Sign(text) != sig {
		t.Errorf("kept keys sign differently: %v", err)
	}
}

func TestForgedSignatures(t *testing.T) {
	a, v, text := authority(), verifier(t), update.Manifest()
	stranger, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	payload := fmt.Sprintf(`{"sha256":%q}`, base64.StdEncoding.EncodeToString(sum[:]))
	jwk := func(n *rsa.PublicKey, e string) string {
		return fmt.Sprintf(`{"kty":"RSA","n":%q,"e":%q,"alg":"RS256","kid":"x"}`, base64.StdEncoding.EncodeToString(n.N.Bytes()), e)
	}
	outer := func(sjwk string) string {
		return manifesttest.Compact(stranger, fmt.Sprintf(`{"alg":"RS256","sjwk":%q}`, sjwk), payload)
	}
	inner := func(kid string) string {
		return manifesttest.Compact(stranger, fmt.Sprintf(`{"alg":"RS256","kid":%q}`, kid), jwk(&stranger.PublicKey, "AQAB"))
	}
	good := a.Sign(text)
	parts := strings.Split(good, ".")
	b64 := base64.RawURLEncoding.EncodeToString
	for name, c := range map[string]struct {
		sig  string
		want manifest.Code
	}{
		"stranger under our root": {outer(inner(manifesttest.RootA)), manifest.BadSignature},
		"stranger's own root":     {outer(inner("stranger")), manifest.UnknownRoot},
		"no kid":                  {outer(manifesttest.Compact(stranger, `{"alg":"RS256"}`, "{}")), manifest.MissingRoot},
		"no sjwk":                 {manifesttest.Compact(stranger, `{"alg":"RS256"}`, payload), manifest.BadStructure},
		"alg none":                {b64([]byte(`{"alg":"none"}`)) + "." + parts[1] + "." + parts[2], manifest.BadAlgorithm},
		"alg in lower case":       {manifesttest.Compact(stranger, `{"alg":"rs256","sjwk":"x"}`, payload), manifest.BadAlgorithm},
		"alg HS256":               {b64([]byte(`{"alg":"HS256","sjwk":"x"}`)) + "." + parts[1] + "." + parts[2], manifest.BadAlgorithm},
		"inner alg none": {
			outer(b64([]byte(`{"alg":"none","kid":"`+manifesttest.RootA+`"}`)) + "." + b64([]byte(`{}`)) + "." + parts[2]),
			manifest.BadAlgorithm,
		},
		"duplicate sjwk": {
			b64([]byte(`{"alg":"RS256","sjwk":"a","sjwk":"b"}`)) + "." + parts[1] + "." + parts[2],
			manifest.BadStructure,
		},
		"crit":               {a.SignWithHeader(text, `"crit":["b64"],`), manifest.BadStructure},
		"payload of another": {parts[0] + "." + b64([]byte(`{"sha256":"AAAA"}`)) + "." + parts[2], manifest.BadSignature},
		"line break":         {parts[0] + "\n." + parts[1] + "." + parts[2], manifest.BadStructure},
		"padding":            {parts[0] + "." + parts[1] + "=." + parts[2], manifest.BadStructure},
		"two segments":       {parts[0] + "." + parts[1], manifest.BadStructure},
		"no signature":       {parts[0] + "." + parts[1] + ".", manifest.BadStructure},
		"empty":              {"", manifest.BadStructure},
	} {
		_, err := v.VerifySignature(text, c.sig)
		wantCode(t, name, err, c.want)
	}
	_, err = v.VerifySignature(append(text, '\n'), good)
	wantCode(t, "one byte more", err, manifest.HashMismatch)
}

func TestSigningKeyMustBeUsable(t *testing.T) {
	a := authority()
	for name, jwk := range map[string]string{
		"exponent 3": `{"kty":"RSA","n":"` + base64.RawURLEncoding.EncodeToString(a.SigningPublicKey().N.Bytes()) + `","e":"Aw","kid":"x"}`,
		"1024 bits":  `{"kty":"RSA","n":"` + strings.Repeat("x", 172) + `","e":"AQAB","kid":"x"}`,
		"not RSA":    `{"kty":"oct","k":"AAAA","kid":"x"}`,
		"other alg":  `{"kty":"RSA","n":"AAAA","e":"AQAB","alg":"none","kid":"x"}`,
		"6000 bits":  `{"kty":"RSA","n":"` + strings.Repeat("x", 1000) + `","e":"AQAB","kid":"x"}`,
	} {
		_, err := verifier(t).VerifySignature(nil, a.SignWithKey(jwk))
		wantCode(t, name, err, manifest.BadSigningKey)
	}
}

func TestRootKeyPackage(t *testing.T) {
	a, text := authority(), update.Manifest()
	sig := a.Sign(text)
	pkcs1 := sha256.Sum256(x509.MarshalPKCS1PublicKey(a.SigningPublicKey()))
	der, _ := x509.MarshalPKIXPublicKey(a.SigningPublicKey())
	spki := sha256.Sum256(der)
	for name, c := range map[string]struct {
		p    manifesttest.Package
		want manifest.Code
	}{
		"root":        {manifesttest.Package{Version: 2, DisabledRoots: []string{manifesttest.RootA}}, manifest.DisabledRoot},
		"other root":  {manifesttest.Package{Version: 2, DisabledRoots: []string{manifesttest.RootB}}, ""},
		"PKCS#1 hash": {manifesttest.Package{Version: 2, DisabledKeys: [][]byte{pkcs1[:]}}, manifest.DisabledSigningKey},
		"SPKI hash":   {manifesttest.Package{Version: 2, DisabledKeys: [][]byte{spki[:]}}, manifest.DisabledSigningKey},
	} {
		v := verifier(t)
		if _, err := v.UsePackage(a.RootKeyPackage(c.p)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, _, err := v.Verify(text, sig)
		wantCode(t, name, err, c.want)
		// A replayed older package must not bring the key back.
		_, err = v.UsePackage(a.RootKeyPackage(manifesttest.Package{Version: 1}))
		wantCode(t, name+": older package", err, manifest.OldPackage)
		_, err = v.UsePackage(a.RootKeyPackage(manifesttest.Package{Version: 2, DisabledRoots: []string{"other"}}))
		wantCode(t, name+": same version, other content", err, manifest.OldPackage)
		_, _, err = v.Verify(text, sig)
		wantCode(t, name+" after the replay", err, c.want)
	}
}

func TestForgedRootKeyPackages(t *testing.T) {
	a := authority()
	good := string(a.RootKeyPackage(manifesttest.Package{Version: 3}))
	cut := strings.LastIndex(good, ",{\"alg\"")
	for name, c := range map[string]struct {
		raw  string
		want manifest.Code
	}{
		"edited":             {strings.Replace(good, `"version":3`, `"version":4`, 1), manifest.BadSignature},
		"second root silent": {good[:cut] + "]}", manifest.BadSignature},
		"signatures swapped": {swapSignatures(good), manifest.BadSignature},
		"keys reordered":     {strings.Replace(good, `"isTest":false,"version":3`, `"version":3,"isTest":false`, 1), manifest.BadSignature},
		"test package":       {string(a.RootKeyPackage(manifesttest.Package{Version: 3, Test: true})), manifest.TestPackage},
		"no object":          {`[]`, manifest.BadPackage},
		"duplicate":          {`{"protected":{},"protected":{},"signatures":[]}`, manifest.BadPackage},
	} {
		v := verifier(t)
		_, err := v.UsePackage([]byte(c.raw))
		wantCode(t, name, err, c.want)
		if v.Package() != nil {
			t.Errorf("%s: in use", name)
		}
	}
	spaced := strings.ReplaceAll(strings.ReplaceAll(good, `,"`, ", \n\t\""), `":`, `" : `)
	if _, err := verifier(t).UsePackage([]byte(spaced)); err != nil {
		t.Errorf("white space changes the signed bytes: %v", err)
	}
}

func swapSignatures(s string) string {
	i := strings.Index(s, `"signatures":[`) + len(`"signatures":[`)
	both := strings.Split(strings.TrimSuffix(s[i:], "]}"), "},{")
	return s[:i] + "{" + both[1] + "," + both[0] + "}]}"
}

func TestParseRefuses(t *testing.T) {
	good := string(update.Manifest())
	for name, c := range map[string]struct {
		old, new string
		want     manifest.Code
	}{
		"version 3":          {`"5"`, `"3"`, manifest.UnsupportedVersion},
		"version a number":   {`"manifestVersion":"5"`, `"manifestVersion":5`, manifest.UnsupportedVersion},
		"case of a key":      {`"updateId"`, `"UpdateId"`, manifest.BadManifest},
		"second key by case": {`"files":{`, `"Files":{},"files":{`, manifest.BadManifest},
		"duplicate":          {`{"manifestVersion"`, `{"manifestVersion":"4","manifestVersion"`, manifest.BadManifest},
		"NUL":                {`Thermostat`, `Thermo\u0000stat`, manifest.BadManifest},
		"trailing":           {`00Z"}`, `00Z"}{}`, manifest.BadManifest},
		"unlisted file":      {`"files":["f000102030405060"]`, `"files":["other"]`, manifest.BadManifest},
		"path in a name":     {`firmware.bin`, `../firmware.bin`, manifest.BadManifest},
		"negative size":      {`"sizeInBytes":8`, `"sizeInBytes":-8`, manifest.BadManifest},
		"short hash":         {`"sha256":"`, `"sha256":"AAAA","x":"`, manifest.BadManifest},
		"unknown step type":  {`"handler"`, `"type":"magic","handler"`, manifest.BadManifest},
		"incomplete id":      {`"provider":"Contoso",`, ``, manifest.BadManifest},
	} {
		text := strings.Replace(good, c.old, c.new, 1)
		if text == good {
			t.Fatalf("%s: nothing replaced", name)
		}
		_, err := manifest.Parse([]byte(text))
		wantCode(t, name, err, c.want)
	}
	_, _, err := verifier(t).Verify(make([]byte, manifest.MaxManifest+1), "")
	wantCode(t, "too large", err, manifest.BadManifest)
}

func TestDetachedStubAndRelatedFiles(t *testing.T) {
	hash := base64.StdEncoding.EncodeToString(make([]byte, 32))
	file := func(name, more string) string {
		return fmt.Sprintf(`{"fileName":%q,"sizeInBytes":1,"hashes":{"sha256":%q}%s}`, name, hash, more)
	}
	const head = `{"manifestVersion":"5","updateId":{"provider":"a","name":"b","version":"1"},`
	m, err := manifest.Parse([]byte(head + `"detachedManifestFileId":"f1","files":{"f1":` + file("m.json", "") + `}}`))
	if err != nil || m.Detached != "f1" || !m.HasChildren() {
		t.Errorf("stub: %+v, %v", m, err)
	}
	m, err = manifest.Parse([]byte(head + `"compatibility":[{"m":"x"}],"instructions":{"steps":[{"handler":"h","files":["f1"]}]},` +
		`"files":{"f1":` + file("full", `,"relatedFiles":{"f2":`+file("delta", "")+`},"downloadHandler":{"id":"mi`+
		`crosoft/delta:1"}`) + `}}`))
	if err != nil || len(m.Files) != 2 || m.HasChildren() {
		t.Errorf("related files: %+v, %v", m, err)
	}
	urls := func(s string) strictjson.Value {
		v, err := strictjson.Parse([]byte(s), strictjson.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	const host = `"http://a.b.nlu.dl.adu.microsoft.com/x"`
	if err := m.CheckFiles(urls(`{"f1":`+host+`,"f2":`+host+`,"f9":null}`), manifest.Hosts{}); err != nil {
		t.Error(err)
	}
	wantCode(t, "unlisted file", m.CheckFiles(urls(`{"f9":`+host+`}`), manifest.Hosts{}), manifest.UnknownFile)
	wantCode(t, "number", m.CheckFiles(urls(`{"f1":1}`), manifest.Hosts{}), manifest.BadURL)
}

func TestHosts(t *testing.T) {
	for raw, want := range map[string]bool{
		"http://x--y.b.nlu.dl.adu.microsoft.com/a/b.bin": true, "https://x.dl.adu.microsoft.com/": true,
		"https://X.DL.ADU.Microsoft.COM:443/": true,
		"https://dl.adu.microsoft.com/":       false, "https://evildl.adu.microsoft.com/": false,
		"https://x.dl.adu.microsoft.com.evil.org/": false,
		"https://x.dl.adu.microsoft.com@evil.org/": false, "https://evil.org/x.dl.adu.microsoft.com": false,
		"https://evil.org#.dl.adu.microsoft.com": false,
		"https://x.dl.adu.microsoft.com:8443/":   false, "ftp://x.dl.adu.microsoft.com/": false,
		"file:///etc/passwd": false, "//x.dl.adu.microsoft.com/": false,
		"https://evil.org\\.dl.adu.microsoft.com/": false, "https://user@x.dl.adu.microsoft.com/": false,
		"http://127.0.0.1/": false, "": false,
		"https:x.dl.adu.microsoft.com": false, "https://x.dl.adu.microsoft.com:/": false,
		"https://x..dl.adu.microsoft.com/": false, "https://.dl.adu.microsoft.com/": false,
	} {
		if err := (manifest.Hosts{}).Check(raw); (err == nil) != want {
			t.Errorf("%s: %v, want allowed %v", raw, err, want)
		}
	}
	any := manifest.Hosts{Allowed: []string{"*", "127.0.0.1:8080", "[fd00::1]:80"}}
	for raw, want := range map[string]bool{
		"http://example.org/": true, "http://203.0.113.9/": true, "http://127.0.0.1:8080/": true,
		"http://127.0.0.1/": false, "http://localhost/": false,
		"http://10.1.2.3/": false, "http://169.254.169.254/": false, "http://[::1]/": false,
		"http://[::ffff:127.0.0.1]/": false, "http://[fe80::1]/": false,
		"http://2130706433/": false, "http://0x7f000001/": false, "http://127.1/": false, "http://0/": false,
		"http://100.64.0.1/": false, "http://[64:ff9b::7f00:1]/": false,
		"http://[2002:7f00:1::]/": false, "http://192.168.0.1/": false, "http://172.16.0.1/": false,
		"http://0.0.0.0/": false, "http://[fd00::2]/": false,
	} {
		if err := any.Check(raw); (err == nil) != want {
			t.Errorf("any: %s: %v, want allowed %v", raw, err, want)
		}
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add(update.Manifest())
	f.Add([]byte(`{"manifestVersion":"5","updateId":{"provider":"a","name":"b","version":"1"},"detachedManifestFileId":"f1","files":{}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := manifest.Parse(text)
		if err != nil {
			if manifest.CodeOf(err) == "" {
				t.Fatalf("a refusal without code: %v", err)
			}
			return
		}
		if m.ID.Provider == "" || len(m.Files) == 0 || m.Version != "4" && m.Version != "5" {
			t.Fatalf("incomplete: %+v", m)
		}
	})
}

func FuzzSignature(f *testing.F) {
	text := update.Manifest()
	good := authority().Sign(text)
	f.Add(good)
	f.Add(good[:len(good)-4])
	f.Add("a.b.c")
	v := verifier(f)
	f.Fuzz(func(t *testing.T, sig string) {
		if _, err := v.VerifySignature(text, sig); err == nil && sig != good {
			t.Fatalf("another spelling verifies: %q", sig)
		}
	})
}

func FuzzRootKeyPackage(f *testing.F) {
	good := authority().RootKeyPackage(manifesttest.Package{Version: 3})
	f.Add(good)
	f.Add([]byte(`{"protected":{"version":1},"signatures":[]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if p, err := verifier(t).UsePackage(raw); err == nil && p.Version != 3 {
			t.Fatalf("an unsigned package is in use: %s", raw)
		}
	})
}
