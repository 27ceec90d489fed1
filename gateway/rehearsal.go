package gateway

import (
	"errors"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/preflight"
)

// rehearse builds everything that Run builds, by the same steps, and closes it again. It
// uses a store in memory, opens no door and logs nothing. An error of build would also end
// the daemon at its start.
func rehearse(cfg *config.Config) error {
	d, err := build(*cfg, Options{rehearsal: true})
	if err != nil {
		return err
	}
	_, err = d.parts()
	return errors.Join(err, d.close())
}

// CheckAll returns the problems that Look finds.
func CheckAll(cfg *config.Config, loaded []config.Problem) []config.Problem {
	problems, _ := Look(cfg, loaded)
	return problems
}

// Look returns everything that keeps the daemon from starting with a configuration (problems),
// and the warnings: it is preflight.Look with this package's rehearsal.
func Look(cfg *config.Config, loaded []config.Problem) (problems, warnings []config.Problem) {
	return preflight.Look(cfg, loaded, rehearse)
}
