// Package ownid makes the gateway's own identity at the management API of what is configured: cloud.management.credential.
package ownid

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/sync/client"
	"github.com/gatehouse/gatehouse/sync/client/credential"
)

// deviceTokenLife is that of the tokens which the gateway signs with a device's key.
const deviceTokenLife = time.Hour

// New makes the credential, which asks for nothing yet. idle closes its connections that are not in use. One that has to be
// renewed has a method Run(ctx), which does that ahead of whoever needs the token.
func New(m config.Management, now func() time.Time, log *slog.Logger) (token client.TokenSource, idle func(), err error) {
	c := m.Credential
	switch c.Kind {
	case config.CredentialTokenFile:
		return credential.TokenFile{Read: c.TokenFile.Read}, func() {}, nil
	case config.CredentialDeviceSAS:
		return credential.NewSigned(credential.SignedOptions{
			Sign: func(expires time.Time) (string, error) { return deviceToken(c, expires) },
			Life: deviceTokenLife,
			Now:  now,
		}), func() {}, nil
	}
	h := tlsfile.Client(m.CA)
	if c.Kind == config.CredentialClientSecret && c.TokenURL != "" {
		return credential.NewClientSecret(credential.ClientSecretOptions{
			URL:      c.TokenURL,
			ClientID: c.ClientID,
			Scope:    c.Scope,
			Secret:   c.ClientSecret.Read,
			HTTP:     h,
			Now:      now,
		}), h.CloseIdleConnections, nil
	}
	token, err = credential.NewAzure(credential.AzureOptions{
		Kind:        c.Kind,
		Scope:       c.Scope,
		Authority:   c.Authority,
		Tenant:      c.TenantID.String(),
		ClientID:    c.ClientID,
		ObjectID:    c.ObjectID,
		Resource:    c.ResourceID,
		Secret:      c.ClientSecret.Read,
		Certificate: func() ([]byte, error) { return certificateAndKey(c) },
		File:        string(c.FederatedTokenFile),
		Prompt: func(page, message string) {
			log.Warn("somebody must sign this gateway in to the cloud", "page", page, "message", message)
		},
		Now:  now,
		HTTP: h,
	})
	return token, h.CloseIdleConnections, err
}

func certificateAndKey(c config.Credential) ([]byte, error) {
	cert, err := os.ReadFile(string(c.Certificate))
	if err != nil {
		return nil, err
	}
	key, err := c.Key.Read()
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	return append(append(cert, '\n'), key...), nil
}

// deviceToken is the token of a device for the management API (docs/spec/management-api.md 5.3).
func deviceToken(c config.Credential, expires time.Time) (string, error) {
	text, err := c.SASKey.Read()
	if err != nil {
		return "", fmt.Errorf("cloud.management.credential.sasKey: %w", err)
	}
	key, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil || len(key) == 0 {
		return "", errors.New("cloud.management.credential.sasKey: the file does not hold a key in base64")
	}
	return sas.IssueDeviceToken(c.HardwareID, c.KeyVersion, key, expires), nil
}
