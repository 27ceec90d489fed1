package preflight

import (
	"fmt"
	"slices"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// Warnings are those of the file (config.Config.Warnings), and whatever may pass without an
// edit, so that the daemon starts all the same: files of listeners, of links and of token keys,
// which it reads again and again; missing secrets that it reads before each use; and a clock
// that was never set. Health names these while the daemon runs.
func Warnings(cfg *config.Config) []config.Problem {
	return append(cfg.Warnings(), passing(cfg, time.Now())...)
}

// passing lists what may pass without an edit of the configuration.
func passing(cfg *config.Config, now time.Time) []config.Problem {
	var list []config.Problem
	if offline.NeverSet(now) {
		list = append(list, config.Problem{
			File:    "system clock",
			Message: fmt.Sprintf("says %s", now.Format(time.DateOnly)),
			Hint:    offline.SetTheClock,
		})
	}
	list = append(list, slices.DeleteFunc(cfg.CheckFiles(), func(p config.Problem) bool { return !timeMends(p) })...)
	for i := range cfg.Listeners {
		list = append(list, ofCertificate(cfg, fmt.Sprintf("listeners[%d].tls.", i), cfg.Listeners[i].TLS, now, list)...)
	}
	list = append(list, ofCertificate(cfg, "api.tls.", cfg.API.TLS, now, list)...)
	list = append(list, ofLinks(cfg, list)...)
	for i := range list {
		list[i].Warning = true
	}
	return list
}

// timeMends tells that a problem of CheckFiles does not keep the daemon from starting.
func timeMends(p config.Problem) bool { return p.Warning || isWaitedFor(p.Field) }

// ofCertificate checks the files of one listener, without those that said already names.
func ofCertificate(cfg *config.Config, at string, t *config.TLS, now time.Time, said []config.Problem) []config.Problem {
	unsaid := func(field string) bool {
		return !slices.ContainsFunc(said, func(p config.Problem) bool { return p.Field == at+field })
	}
	if t == nil || t.Cert == "" || t.Key == "" || !unsaid("cert") || !unsaid("key") || slices.Contains(cfg.Unseen(), at+"key") {
		return nil
	}
	var list []config.Problem
	s, err := tlsfile.Server(t)
	if err != nil {
		return append(list, cfg.Problem(at+"cert", fmt.Sprintf("cannot be used: %v", err),
			"name a PEM certificate chain and the key that belongs to it"))
	}
	switch s.At(now) {
	case tlsfile.Expired:
		list = append(list, cfg.Problem(at+"cert", fmt.Sprintf("expired on %s", s.NotAfter.Format(time.RFC3339)),
			"renew it: clients may refuse the gateway"))
	case tlsfile.NotYetValid:
		list = append(list, cfg.Problem(at+"cert", fmt.Sprintf("is not valid before %s", s.NotBefore.Format(time.RFC3339)),
			"check the clock, or wait"))
	}
	if s.Authority != nil && unsaid("clientCA") {
		list = append(list, cfg.Problem(at+"clientCA", s.Authority.Error(), "name a PEM file with the authority's certificate"))
	}
	return list
}
