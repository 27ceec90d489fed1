package main

import (
	"fmt"
	"log/slog"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/management"
	"github.com/gatehouse/gatehouse/sync/management/seed"
)

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
	var fill seed.Fill
	if s.Credentials != "" {
		if fill, err = readCredentials(string(s.Credentials)); err != nil {
			return fmt.Errorf("credentials %s: %w", s.Credentials, err)
		}
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
