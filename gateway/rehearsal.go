package gateway

import (
	"errors"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/preflight"
)

// rehearse builds everything that Run builds, by the same steps, and ends it
// again: over a store in memory, with doors that stay shut, in silence. What
// keeps it from being built would end the daemon at its start.
func rehearse(cfg *config.Config) error {
	d, err := build(*cfg, Options{rehearsal: true})
	if err != nil {
		return err
	}
	_, err = d.parts()
	return errors.Join(err, d.close())
}

// CheckAll is the problems that Look finds.
func CheckAll(cfg *config.Config, loaded []config.Problem) []config.Problem {
	problems, _ := Look(cfg, loaded)
	return problems
}

// Look is everything that keeps the daemon from starting with a configuration (problems), and
// everything that is worth a warning: package preflight, with a rehearsal by this package.
func Look(cfg *config.Config, loaded []config.Problem) (problems, warnings []config.Problem) {
	return preflight.Look(cfg, loaded, rehearse)
}
