package site

import (
	"crypto/rand"
	stdx509 "crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/x509"
)

// validity of every certificate.
const validity = 90 * 24 * time.Hour

// Stranger is a certificate that is good in form and known to nobody.
const Stranger = "stranger"

// makeKeys makes what is missing of the keys and certificates, valid from the
// given time, and the file that tells the cloud how the devices prove themselves;
// known is its text, if that is known already.
func (s *Site) makeKeys(from time.Time, known string) error {
	var err error
	s.CA, err = s.pair("ca", func() (x509.Pair, error) { return x509.NewCA("Gatehouse development CA", from, validity) })
	if err != nil {
		return err
	}
	s.Pool = stdx509.NewCertPool()
	s.Pool.AddCert(s.CA.Cert)
	_, err = s.pair("server", func() (x509.Pair, error) {
		return s.CA.Server(from, validity, "localhost", "127.0.0.1", "::1", HubHost)
	})
	if err != nil {
		return err
	}
	_, err = s.keep("gatehoused.secret", func() []byte {
		b := make([]byte, 24)
		_, _ = rand.Read(b) // never fails
		return []byte(hex.EncodeToString(b))
	})
	if err != nil || s.seed == "" {
		return err
	}
	if known == "" {
		if known, err = s.deviceKeys(from); err != nil {
			return err
		}
	}
	return os.WriteFile(s.File("cloud-credentials.yaml"), []byte(known), 0o600)
}

// deviceKeys makes a certificate or a key for each device, and returns the cloud's file of them.
func (s *Site) deviceKeys(from time.Time) (string, error) {
	var b strings.Builder
	b.WriteString("# How the devices prove themselves; read once, into an empty store.\ndevices:\n")
	selfSigned := func(id string) (err error) {
		s.devices[id], err = s.pair(id, func() (x509.Pair, error) { return x509.NewSelfSigned(id, from, validity) })
		return err
	}
	for _, id := range s.Building.Devices(device.AuthSelfSigned) {
		if err := selfSigned(id); err != nil {
			return "", err
		}
		t := x509.Thumbprint(s.devices[id].Cert)
		fmt.Fprintf(&b, "  - {id: %s, thumbprints: [%x]}\n", id, t[:])
	}
	if err := selfSigned(Stranger); err != nil {
		return "", err
	}
	for _, id := range s.Building.Devices(device.AuthSAS) {
		text, err := s.keep("pki/"+id+".sas-key", func() []byte {
			key := make([]byte, 32)
			_, _ = rand.Read(key) // never fails
			return []byte(base64.StdEncoding.EncodeToString(key))
		})
		if err != nil {
			return "", err
		}
		if s.keys[id], err = base64.StdEncoding.DecodeString(string(text)); err != nil {
			return "", err
		}
		fmt.Fprintf(&b, "  - {id: %s, primaryKey: %s}\n", id, text)
	}
	authority, err := s.pair("house-ca", func() (x509.Pair, error) { return x509.NewCA("Harbour House devices", from, validity) })
	if err != nil {
		return "", err
	}
	for _, id := range s.Building.Devices(device.AuthCA) {
		s.devices[id], err = s.pair(id, func() (x509.Pair, error) { return authority.Client(id, from, validity, nil) })
		if err != nil {
			return "", err
		}
	}
	fmt.Fprintf(&b, "authorities:\n  - {space: house, cert: %s}\n", s.PKI("house-ca.pem"))
	return b.String(), nil
}

// pair keeps a certificate and its key in pki.
func (s *Site) pair(name string, issue func() (x509.Pair, error)) (x509.Pair, error) {
	certFile, keyFile := s.PKI(name+".pem"), s.PKI(name+".key")
	cert, err1 := os.ReadFile(certFile)
	key, err2 := os.ReadFile(keyFile)
	if err1 != nil || err2 != nil {
		p, err := issue()
		if err != nil {
			return p, err
		}
		return p, WritePair(p, certFile, keyFile)
	}
	const remedy = "make clean removes the folder, and make run begins anew"
	p, err := x509.ParsePair(cert, key)
	switch {
	case err != nil:
		return p, fmt.Errorf("%s and its key cannot be used (%w); %s", certFile, err, remedy)
	case time.Now().After(p.Cert.NotAfter.Add(-24 * time.Hour)):
		// A new one would not do: the cloud side has stored the thumbprints of the old ones.
		return p, fmt.Errorf("%s ends on %s; %s", certFile, p.Cert.NotAfter.Format(time.DateOnly), remedy)
	}
	return p, nil
}

// WritePair writes a certificate and its key, which only its owner reads.
func WritePair(p x509.Pair, certFile, keyFile string) error {
	cert, key, err := p.PEM()
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(certFile, cert, 0o644), os.WriteFile(keyFile, key, 0o600))
}

// keep returns what a file of the site holds, and makes it if it is not there.
func (s *Site) keep(name string, create func() []byte) ([]byte, error) {
	if b, err := os.ReadFile(s.File(name)); err == nil {
		return b, nil
	}
	b := create()
	return b, os.WriteFile(s.File(name), b, 0o600)
}
