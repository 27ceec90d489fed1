package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/cmd/managementd/internal/issuer"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
)

// newAuthority makes the development issuer. What became of its managed identities is kept beside the store.
func newAuthority(s settings, signer *jwt.Issuer) (*issuer.Issuer, error) {
	file := filepath.Join(string(s.State), "identities.json")
	var state issuer.State
	switch text, err := os.ReadFile(file); {
	case err == nil:
		if err := json.Unmarshal(text, &state); err != nil {
			return nil, fmt.Errorf("%s cannot be read (%w); remove it, and the identities are as configured", file, err)
		}
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	secret := ""
	if s.Issuer.IdentityListen != "" {
		text, err := os.ReadFile(s.identitySecret())
		if errors.Is(err, fs.ErrNotExist) {
			text = []byte(space.NewID().String() + space.NewID().String())
			err = writeSecret(s.identitySecret(), text)
		}
		if err != nil {
			return nil, fmt.Errorf("issuer.identitySecret: %w", err)
		}
		secret = strings.TrimSpace(string(text))
	}
	resources := s.Issuer.resources()
	for _, a := range s.ARM.Audiences {
		resources = append(resources, issuer.Resource{URI: a})
	}
	a, err := issuer.New(issuer.Options{
		Tenant:    s.Tenant,
		Signer:    signer,
		Accounts:  s.Issuer.Accounts,
		Clients:   s.Issuer.Clients,
		Resources: resources,
		Managed:   issuer.State{Identities: state.Since(s.Issuer.Identities), Ended: state.Ended},
		Secret:    secret,
		Remember: func(state issuer.State) error {
			text, err := json.MarshalIndent(state, "", "  ")
			if err != nil {
				return err
			}
			return writeSecret(file, text)
		},
		Interval: s.Issuer.DeviceInterval,
		Now:      time.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("issuer: %w", err)
	}
	return a, nil
}

// identitySecret is the file of issuer.identitySecret.
func (s settings) identitySecret() string {
	if s.Issuer.IdentitySecret != "" {
		return string(s.Issuer.IdentitySecret)
	}
	return filepath.Join(string(s.State), "identity-secret")
}
