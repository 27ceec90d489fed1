package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/gatehouse/gatehouse/cmd/managementd/internal/issuer"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// check looks at the files that the settings name, so that a bad file is reported together with the
// mistakes of the settings instead of at its first use. It creates nothing.
func (s *settings) check(src *config.Source, now time.Time) []config.Problem {
	var problems []config.Problem
	wrong := func(field, message, hint string) {
		problems = append(problems, src.Problem(field, message, hint))
	}
	secret := func(field string, file config.SecretFile) (text []byte, exists bool) {
		text, err := file.Read()
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, false
		case err != nil:
			wrong(field, fmt.Sprintf("%s: %v", file, reason(err)), "chmod 0600 "+string(file))
			return nil, true
		}
		return text, true
	}
	key, exists := secret("tls.key", s.TLS.Key)
	if !exists {
		wrong("tls.key", fmt.Sprintf("%s: no such file", s.TLS.Key), "make the file, owned by this user, mode 0600")
	}
	cert, err := os.ReadFile(string(s.TLS.Cert))
	switch {
	case err != nil:
		wrong("tls.cert", fmt.Sprintf("%s: %v", s.TLS.Cert, reason(err)), "name an existing file that this user may read")
	case key != nil:
		if message, hint := certificate(cert, key, now); message != "" {
			wrong("tls.cert", message, hint)
		}
	}
	if text, _ := secret("issuer.key", s.Issuer.Key); text != nil {
		if _, err := jwt.UnmarshalKey(text); err != nil {
			wrong("issuer.key", err.Error(), "name a PEM file with an RSA key, or remove the file: a new one is made then")
		}
	}
	if err := issuer.Readable(s.Issuer.Accounts); err != nil {
		wrong("issuer.accounts", err.Error(), "name PEM files with RSA certificates, and key sets as JSON")
	}
	if s.Endpoints.CA != "" {
		if _, err := os.Stat(string(s.Endpoints.CA)); err != nil {
			wrong("endpoints.ca", fmt.Sprintf("%s: %v", s.Endpoints.CA, reason(err)), "name the PEM file with the authority of tls.cert")
		}
	}
	info, err := os.Stat(string(s.State))
	if err == nil && !info.IsDir() {
		wrong("state", fmt.Sprintf("%s cannot be used: not a directory", s.State), "name a directory that this user may write")
	}
	if errors.Is(err, fs.ErrNotExist) && s.Seed != "" { // both are read into an empty store only
		if _, err := os.Stat(string(s.Seed)); err != nil {
			wrong("seed", fmt.Sprintf("%s: %v", s.Seed, reason(err)), "name an existing file, or remove the setting: the store begins empty then")
		}
	}
	if s.Credentials != "" { // as long as the site is large, and read into an empty store only: its lines are looked at then
		file, err := config.SecretFile(s.Credentials).Open()
		switch {
		case err == nil:
			_ = file.Close()
		case !errors.Is(err, fs.ErrNotExist):
			wrong("credentials", fmt.Sprintf("%s: %v", s.Credentials, reason(err)), "chmod 0600 "+string(s.Credentials))
		}
	}
	return problems
}

func certificate(cert, key []byte, now time.Time) (message, hint string) {
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return fmt.Sprintf("cannot be used: %v", err), "name a PEM certificate chain, and in tls.key the key that belongs to it"
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	switch {
	case err != nil:
		return fmt.Sprintf("cannot be read: %v", err), "name a PEM certificate"
	case now.After(leaf.NotAfter):
		return "expired on " + leaf.NotAfter.Format(time.RFC3339), "renew it: gateways refuse this server"
	}
	return "", ""
}

// reason is the text of an error without the file's path, which the problem names already.
func reason(err error) error {
	if e := (*fs.PathError)(nil); errors.As(err, &e) {
		return e.Err
	}
	return err
}
