package main

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"log/slog"
	"os"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/sync/management"
	"github.com/gatehouse/gatehouse/sync/management/seed"
)

// credentialFile says how the seed's devices prove themselves. It holds
// secrets and is read once, into an empty store.
type credentialFile struct {
	Devices     []deviceCredential `yaml:"devices"`
	Authorities []authority        `yaml:"authorities"`
}

type deviceCredential struct {
	ID          string   `yaml:"id"` // hub device id
	Primary     string   `yaml:"primaryKey"`
	Secondary   string   `yaml:"secondaryKey"`
	Thumbprints []string `yaml:"thumbprints"` // SHA-256, hexadecimal
}

type authority struct {
	Space string      `yaml:"space"` // key in the seed, or "/"
	Cert  config.File `yaml:"cert"`  // PEM
}

// seedOnce fills an empty store; a store with content is left as it is.
func seedOnce(api *management.Server, s settings, log *slog.Logger) error {
	if !api.Empty() {
		return nil
	}
	if s.Seed == "" {
		return ownOnce(api, s, log)
	}
	building, err := seed.Load(string(s.Seed))
	if err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	var known credentialFile
	if s.Credentials != "" {
		if problems := config.Decode(string(s.Credentials), &known); len(problems) > 0 {
			return fmt.Errorf("credentials: %w", problems[0])
		}
	}
	fill, err := known.fill()
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	if err := building.Seed(api, fill); err != nil {
		return fmt.Errorf("seed: %w", err)
	}
	log.Info("the store was empty and was seeded", "from", s.Seed, "policy", api.Version().String())
	return nil
}

// ownOnce gives an empty store an owner; without one nobody could ever write to it.
func ownOnce(api *management.Server, s settings, log *slog.Logger) error {
	if s.Owner.ObjectID.IsZero() {
		log.Warn("the store is empty and has no owner: nobody may write to it", "next", "set owner or seed in the configuration and start again")
		return nil
	}
	kind, err := model.ParseIdentityKind(s.Owner.Type)
	if err != nil {
		return err
	}
	grant := model.Assignment{
		ID: space.NewID(), Role: space.MustID(model.SpaceAdministratorRole), Path: space.Root,
		Who: model.Identity{Kind: kind, Object: s.Owner.ObjectID, Tenant: s.Tenant},
	}
	if err := api.Import(management.Content{Assignments: []model.Assignment{grant}}); err != nil {
		return fmt.Errorf("owner: %w", err)
	}
	log.Info("the store was empty and has an owner now", "owner", grant.Who.String(), "assignment", grant.ID.String())
	return nil
}

func (c *credentialFile) fill() (seed.Fill, error) {
	auths := map[string]device.Auth{}
	for _, d := range c.Devices {
		auth, err := d.auth()
		if err != nil {
			return seed.Fill{}, fmt.Errorf("device %s: %w", d.ID, err)
		}
		auths[d.ID] = auth
	}
	f := seed.Fill{
		Device:      func(id string) (device.Auth, bool) { a, ok := auths[id]; return a, ok },
		Authorities: map[string][]byte{},
	}
	for _, a := range c.Authorities {
		text, err := os.ReadFile(string(a.Cert))
		if err != nil {
			return f, err
		}
		block, _ := pem.Decode(text)
		if block == nil || block.Type != "CERTIFICATE" {
			return f, fmt.Errorf("%s holds no PEM certificate", a.Cert)
		}
		f.Authorities[a.Space] = block.Bytes
	}
	return f, nil
}

func (d *deviceCredential) auth() (device.Auth, error) {
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
