// Package preflight looks at a configuration before it runs: what keeps the daemon from starting and
// only an editor mends (problems), and what it starts with all the same (warnings). It opens nothing
// for writing and starts nothing, so that a configuration can be looked at beside the daemon that
// runs by it, and by another user.
package preflight

import (
	"slices"

	"github.com/gatehouse/gatehouse/device/update/trust"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/links"
)

// Check looks at everything that a valid configuration names, that would
// only fail later, and that only an editor mends: files, the topic map, routes, the state
// directory. It starts nothing. What time mends is for Warnings, except that a state directory which
// time mends (passes) is a warning in this list.
func Check(cfg *config.Config) []config.Problem {
	problems := slices.DeleteFunc(cfg.CheckFiles(), timeMends)
	if cfg.Access.Map != "" && !config.Said(problems, cfg.Problem("access.map", "", "")) {
		_, more := access.LoadTopicMap(string(cfg.Access.Map))
		problems = append(problems, more...)
	}
	if _, more := upstream.New(upstream.Options{Routes: links.Routes(cfg)}); len(more) > 0 {
		for _, p := range more {
			problems = append(problems, cfg.Problem("upstream.routes", p.Error(), p.Hint))
		}
	}
	if _, err := trust.NewVerifier(string(cfg.DeviceUpdate.TrustedRoots), false); err != nil {
		problems = config.Merge(problems, cfg.Problem("deviceUpdate.trustedRoots",
			err.Error(), "name a JWK Set of RSA keys, or remove the setting"))
	}
	return append(problems, state(cfg)...)
}

// Look is what config.Load found and, if it could read the file at all, what Check finds beyond that:
// everything at once, and one mistake once. If there is nothing, the daemon is built once by rehearse,
// so that what is called good starts. warnings is everything that the daemon starts with all the
// same (Warnings, taken ports), and what could not be seen by this process.
func Look(cfg *config.Config, loaded []config.Problem, rehearse func(*config.Config) error) (problems, warnings []config.Problem) {
	if slices.ContainsFunc(loaded, func(p config.Problem) bool { return p.Field == "" }) {
		return loaded, nil
	}
	warnings = append(Warnings(cfg), taken(cfg)...)
	isWarning := func(p config.Problem) bool { return p.Warning }
	found := Check(cfg)
	for _, p := range found {
		if isWarning(p) {
			warnings = append(warnings, p)
		}
	}
	if problems = config.Merge(loaded, slices.DeleteFunc(found, isWarning)...); len(problems) > 0 {
		return problems, warnings
	}
	for _, p := range Rehearsed(cfg, rehearse(cfg)) {
		if p.Warning {
			warnings = append(warnings, p)
		} else {
			problems = append(problems, p)
		}
	}
	return problems, warnings
}
