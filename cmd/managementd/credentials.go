package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/sync/management/seed"
)

// deviceCredential says how a device of the seed proves itself.
type deviceCredential struct {
	ID          string   `yaml:"id"` // hub device id
	Primary     string   `yaml:"primaryKey"`
	Secondary   string   `yaml:"secondaryKey"`
	Thumbprints []string `yaml:"thumbprints"` // SHA-256, hexadecimal
}

type authority struct {
	Space string `yaml:"space"` // key in the seed, or "/"
	Cert  string `yaml:"cert"`  // PEM file; named as in a configuration
}

// readCredentials reads the file of the seed's credentials, which is read once,
// into an empty store. It holds secrets and is as long as the site is large: its
// elements are read one by one (seed.Lists). An error names the line.
func readCredentials(file string) (seed.Fill, error) {
	auths := map[string]device.Auth{}
	fill := seed.Fill{
		Device:      func(id string) (device.Auth, bool) { a, ok := auths[id]; return a, ok },
		Authorities: map[string][]byte{},
	}
	f, err := config.SecretFile(file).Open()
	if err != nil {
		return fill, err
	}
	defer func() { _ = f.Close() }()
	var problems []error
	err = seed.Lists(f, []string{"devices", "authorities"}, func(i seed.Item) error {
		read := func() error { return readDevice(i, auths) }
		if i.Section == "authorities" {
			read = func() error { return readAuthority(i, file, fill.Authorities) }
		}
		if err := read(); err != nil {
			problems = append(problems, err)
		}
		if len(problems) == 20 {
			return errors.New("there may be more")
		}
		return nil
	})
	return fill, errors.Join(append(problems, err)...)
}

func readDevice(i seed.Item, auths map[string]device.Auth) error {
	d, err := seed.Element[deviceCredential](i)
	if err != nil {
		return err
	}
	if d.ID == "" {
		return fmt.Errorf("line %d: a device without an id", i.Line)
	}
	if auths[d.ID], err = d.auth(); err != nil {
		return fmt.Errorf("line %d: device %s: %w", i.Line, d.ID, err)
	}
	return nil
}

func readAuthority(i seed.Item, file string, into map[string][]byte) error {
	a, err := seed.Element[authority](i)
	if err != nil {
		return err
	}
	name, err := config.ResolveFile(a.Cert, file)
	if err != nil {
		return fmt.Errorf("line %d: authorities: cert: %w", i.Line, err)
	}
	text, err := os.ReadFile(string(name))
	if err != nil {
		return fmt.Errorf("line %d: authorities: cert: %w", i.Line, err)
	}
	block, _ := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE" {
		return fmt.Errorf("line %d: authorities: %s holds no PEM certificate", i.Line, name)
	}
	into[a.Space] = block.Bytes
	return nil
}

func (d deviceCredential) auth() (device.Auth, error) {
	if len(d.Thumbprints) > 0 {
		auth := device.Auth{Kind: device.AuthSelfSigned}
		for _, t := range d.Thumbprints {
			raw, err := hex.DecodeString(t)
			if err != nil || len(raw) != len(device.Thumbprint{}) {
				return auth, fmt.Errorf("thumbprint is no SHA-256 in hexadecimal")
			}
			auth.Thumbprints = append(auth.Thumbprints, device.Thumbprint(raw))
		}
		return auth, nil
	}
	auth := device.Auth{Kind: device.AuthSAS}
	var err error
	if auth.Primary, err = base64.StdEncoding.DecodeString(d.Primary); err != nil || len(auth.Primary) == 0 {
		return auth, fmt.Errorf("primaryKey is no base64 key")
	}
	if d.Secondary != "" {
		if auth.Secondary, err = base64.StdEncoding.DecodeString(d.Secondary); err != nil {
			return auth, fmt.Errorf("secondaryKey is no base64 key")
		}
	}
	return auth, nil
}
