package x509

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"time"
)

// Pair is a certificate and its private key. The key is a secret.
type Pair struct {
	Cert *x509.Certificate
	Key  *ecdsa.PrivateKey
}

// NewCA makes a root authority.
func NewCA(name string, from time.Time, life time.Duration) (Pair, error) {
	return issue(Pair{}, ca(name, from, life))
}

// SubCA makes an authority below p.
func (p Pair) SubCA(name string, from time.Time, life time.Duration) (Pair, error) {
	return issue(p, ca(name, from, life))
}

func ca(name string, from time.Time, life time.Duration) *x509.Certificate {
	t := template(name, from, life)
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return t
}

// Client issues a device's certificate: CN = name, for client authentication.
// change, if not nil, edits the template first.
func (p Pair) Client(name string, from time.Time, life time.Duration, change func(*x509.Certificate)) (Pair, error) {
	return issue(p, client(name, from, life, change))
}

// NewSelfSigned makes a device's certificate that nobody vouches for.
func NewSelfSigned(name string, from time.Time, life time.Duration) (Pair, error) {
	return issue(Pair{}, client(name, from, life, nil))
}

func client(name string, from time.Time, life time.Duration, change func(*x509.Certificate)) *x509.Certificate {
	t := template(name, from, life)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if change != nil {
		change(t)
	}
	return t
}

// Server issues a server's certificate for host names and addresses.
func (p Pair) Server(from time.Time, life time.Duration, hosts ...string) (Pair, error) {
	if len(hosts) == 0 {
		return Pair{}, errors.New("server certificate: no host")
	}
	t := template(hosts[0], from, life)
	t.KeyUsage = x509.KeyUsageDigitalSignature
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	return issue(p, t)
}

// CRL revokes certificates by serial number, as DER.
func (p Pair) CRL(number int64, from time.Time, life time.Duration, serials ...*big.Int) ([]byte, error) {
	l := &x509.RevocationList{Number: big.NewInt(number), ThisUpdate: from, NextUpdate: from.Add(life)}
	for _, s := range serials {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: s, RevocationTime: from})
	}
	return x509.CreateRevocationList(rand.Reader, l, p.Cert, p.Key)
}

// PEM writes certificate and key (PKCS #8), as tls.X509KeyPair reads them.
func (p Pair) PEM() (cert, key []byte, err error) {
	der, err := x509.MarshalPKCS8PrivateKey(p.Key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.Cert.Raw}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// ParsePair reads what PEM wrote.
func ParsePair(cert, key []byte) (Pair, error) {
	c, _ := pem.Decode(cert)
	k, _ := pem.Decode(key)
	if c == nil || k == nil {
		return Pair{}, errors.New("certificate or key: no PEM")
	}
	parsed, err := x509.ParseCertificate(c.Bytes)
	if err != nil {
		return Pair{}, err
	}
	private, err := x509.ParsePKCS8PrivateKey(k.Bytes)
	if err != nil {
		return Pair{}, errors.New("key: not PKCS #8")
	}
	ec, ok := private.(*ecdsa.PrivateKey)
	if !ok || !ec.PublicKey.Equal(parsed.PublicKey) {
		return Pair{}, errors.New("key: not that of the certificate")
	}
	return Pair{parsed, ec}, nil
}

func template(name string, from time.Time, life time.Duration) *x509.Certificate {
	return &x509.Certificate{
		Subject:   pkix.Name{CommonName: name},
		NotBefore: from, NotAfter: from.Add(life),
	}
}

func issue(parent Pair, t *x509.Certificate) (Pair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Pair{}, err
	}
	if t.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return Pair{}, err
	}
	if parent.Cert == nil {
		parent = Pair{t, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, parent.Cert, &key.PublicKey, parent.Key)
	if err != nil {
		return Pair{}, err
	}
	cert, err := x509.ParseCertificate(der)
	return Pair{cert, key}, err
}
