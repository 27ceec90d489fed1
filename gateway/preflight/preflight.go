// Package preflight checks a configuration before it is run. Problems keep the daemon from starting
// until somebody edits the configuration; with warnings it starts all the same. The package opens
// nothing for writing and starts nothing, so that a configuration can be checked while the daemon
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

// Check looks at everything that a valid configuration names and that would fail only at start, or
// later: files, the topic map, routes, the state directory. It starts nothing. What can pass without
// an edit is left to Warnings, except for the state directory: what can pass there (passes) is in this
// list as a warning.
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

// Look returns what config.Load found (loaded) and, if it could read the file at all, what Check
// finds in addition: everything at once, and each mistake once. If there is no problem, rehearse
// builds the daemon once, so that a configuration that is called good starts. warnings are what the
// daemon starts with all the same (Warnings, taken ports), and what this process could not look at.
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
