package management

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// authority makes a self-signed certificate, and a revocation list by it.
func authority(t *testing.T, isCA bool) (der, crl []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: isCA, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, SubjectKeyId: []byte{1}}
	if der, err = x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	if crl, err = x509.CreateRevocationList(
		rand.Reader,
		&x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Now().Add(time.Hour)},
		cert,
		key,
	); err != nil {
		t.Fatal(err)
	}
	return der, crl
}

func TestCertificateAuthorities(t *testing.T) {
	h := start(t)
	der, crl := authority(t, true)
	_, foreign := authority(t, true)
	leaf, _ := authority(t, false)
	body := func(at space.Path, certificate, list []byte) map[string]any {
		m := map[string]any{"path": at, "certificate": certificate}
		if list != nil {
			m["crl"] = string(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list}))
		}
		return m
	}
	const path = "/gateway/certificateauthorities"
	one := path + "/" + num(80).String()
	since := h.cursor()
	h.want(403, "installer", "PUT", one, body(floor1, der, nil))
	h.want(403, "devices1", "PUT", one, body(space.Root, der, nil))
	h.want(400, "devices1", "PUT", one, body(floor1, leaf, nil))
	h.want(400, "devices1", "PUT", one, body(floor1, []byte("no certificate"), nil))
	h.want(400, "devices1", "PUT", one, body(floor1, der, foreign))
	h.want(404, "admin", "PUT", one, body(building.Join(num(99)), der, nil))
	h.want(204, "devices1", "PUT", one, body(floor1, der, crl))
	// An authority at another place cannot be moved here by a PUT.
	h.want(204, "admin", "PUT", path+"/"+num(81).String(), body(building, der, nil))
	h.want(403, "devices1", "PUT", path+"/"+num(81).String(), body(floor1, der, nil))
	for _, tt := range []struct{ who, query, want string }{
		{"admin", "", "80 81"}, {"site", "", "80"}, {"site", "?site=" + floor1.String(), "80 81"},
		{"site", "?site=" + floor2.String(), ""}, {"stranger", "", ""},
	} {
		if got := h.ids(tt.who, path+tt.query); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.who, tt.query, got, tt.want)
		}
	}
	if got := h.feed("site", since, "&site="+floor1.String()); got != "Create CertificateAuthority 80, Create CertificateAuthority 81" {
		t.Error(got)
	}
	mid := h.cursor()
	h.want(204, "admin", "PATCH", "/spaces/"+num(2).String(), `{"parentSpaceId":"`+num(3).String()+`"}`)
	cas := parse[[]wire.CA](h, h.want(200, "admin", "GET", path, nil))
	if cas[0].Path != floor2.Join(num(2)) || cas[1].Path != building {
		t.Error("authorities move with their space:", cas[0].Path, cas[1].Path)
	}
	again := open2(t, h.store)
	if got := again.want(200, "admin", "GET", path, nil).body; got != h.want(200, "admin", "GET", path, nil).body {
		t.Error(got)
	}
	if got := h.feed("admin", mid, "&site="+floor2.Join(num(2)).String()); got == "" {
		t.Error("the move is not in the feed")
	}
	h.want(403, "gateway", "DELETE", one, nil)
	h.want(204, "devices1", "DELETE", one, nil)
	h.want(404, "devices1", "DELETE", one, nil)
}
