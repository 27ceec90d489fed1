package gateway

import (
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device/update/trust"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// yearOfSense: a clock before it was never set.
const yearOfSense = 2020

// Check looks at everything that a valid configuration names and that would
// only fail later: files, certificates, the topic map, routes, the state
// directory, the clock. It starts nothing.
func Check(cfg *config.Config) []config.Problem { return checkAt(cfg, time.Now()) }

// CheckAll is what config.Load found and, if it could read the file at all,
// what Check finds beyond that: everything at once, and one mistake once.
func CheckAll(cfg *config.Config, loaded []config.Problem) []config.Problem {
	if slices.ContainsFunc(loaded, func(p config.Problem) bool { return p.Field == "" }) {
		return loaded
	}
	return config.Merge(loaded, Check(cfg)...)
}

func checkAt(cfg *config.Config, now time.Time) []config.Problem {
	problems := cfg.CheckFiles()
	if now.Year() < yearOfSense {
		problems = append(problems, config.Problem{File: "system clock", Message: fmt.Sprintf("says %s", now.Format(time.DateOnly)),
			Hint: "set the clock (timedatectl set-time, or an NTP server) before starting: certificates and tokens cannot be judged"})
	}
	for i := range cfg.Listeners {
		at := fmt.Sprintf("listeners[%d].tls.", i)
		said := slices.ContainsFunc(problems, func(p config.Problem) bool { return strings.HasPrefix(p.Field, at) })
		if cfg.Listeners[i].TLS != nil && !said {
			if message, hint := checkCertificate(cfg.Listeners[i].TLS, now); message != "" {
				problems = append(problems, cfg.Problem(at+"cert", message, hint))
			}
		}
	}
	if t := cfg.API.TLS; t != nil && !slices.ContainsFunc(problems, func(p config.Problem) bool { return strings.HasPrefix(p.Field, "api.tls.") }) {
		if message, hint := checkCertificate(t, now); message != "" {
			problems = append(problems, cfg.Problem("api.tls.cert", message, hint))
		}
	}
	problems = config.Merge(problems, linkCertificates(cfg)...)
	if cfg.Access.Map != "" && !config.Said(problems, cfg.Problem("access.map", "", "")) {
		_, more := loadTopicMap(cfg)
		problems = append(problems, more...)
	}
	if _, more := upstream.New(upstream.Options{Routes: routesOf(cfg)}); len(more) > 0 {
		for _, p := range more {
			problems = append(problems, cfg.Problem("upstream.routes", p.Error(), p.Hint))
		}
	}
	if _, err := trust.NewVerifier(string(cfg.DeviceUpdate.TrustedRoots), false); err != nil {
		problems = config.Merge(problems, cfg.Problem("deviceUpdate.trustedRoots", err.Error(), "name a JWK Set of RSA keys, or remove the setting"))
	}
	if err := writable(string(cfg.State.Dir)); err != nil {
		problems = append(problems, cfg.Problem("state.dir", fmt.Sprintf("%s cannot be used: %v", cfg.State.Dir, err), "make the directory and give it to the user that gatehoused runs as (0700)"))
	}
	return problems
}

// linkCertificates looks into the certificate files of the links: authorities, and the gateway's own pairs. A
// file that cannot be read is CheckFiles' to say.
func linkCertificates(cfg *config.Config) []config.Problem {
	authorities := map[string]config.File{
		"identity.jwks.ca": cfg.Identity.JWKS.CA, "cloud.management.ca": cfg.Cloud.Management.CA,
		"upstream.iothub.ca": cfg.Upstream.IoTHub.CA, "upstream.mqtt.ca": cfg.Upstream.MQTT.CA, "deviceUpdate.ca": cfg.DeviceUpdate.CA,
	}
	for i := range cfg.Listeners {
		if t := cfg.Listeners[i].TLS; t != nil {
			authorities[fmt.Sprintf("listeners[%d].tls.clientCA", i)] = t.ClientCA
		}
	}
	var problems []config.Problem
	for _, field := range slices.Sorted(maps.Keys(authorities)) {
		file := authorities[field]
		if file == "" {
			continue
		}
		if _, err := tlsfile.Pool(file); err != nil && !errors.As(err, new(*os.PathError)) {
			problems = append(problems, cfg.Problem(field, err.Error(), "name a PEM file with the authority's certificate"))
		}
	}
	own := cfg.Upstream.IoTHub.GatewayDevice
	for _, p := range []struct {
		field string
		pair  config.TLS
	}{
		{"upstream.iothub.gatewayDevice.cert", config.TLS{Cert: own.Cert, Key: own.Key}},
		{"upstream.mqtt.cert", config.TLS{Cert: cfg.Upstream.MQTT.Cert, Key: cfg.Upstream.MQTT.Key}},
	} {
		if p.pair.Cert == "" || p.pair.Key == "" {
			continue
		}
		if _, err := tlsfile.Pair(p.pair.Cert, p.pair.Key); err != nil && !errors.As(err, new(*os.PathError)) {
			problems = append(problems, cfg.Problem(p.field, fmt.Sprintf("cannot be used: %v", err), "name a PEM certificate chain and the key that belongs to it"))
		}
	}
	return problems
}

func checkCertificate(c *config.TLS, now time.Time) (message, hint string) {
	pair, err := tlsfile.Pair(c.Cert, c.Key)
	if err != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "", "" // CheckFiles says it
		}
		return fmt.Sprintf("cannot be used: %v", err), "name a PEM certificate chain and the key that belongs to it"
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	switch {
	case err != nil:
		return fmt.Sprintf("cannot be read: %v", err), "name a PEM certificate"
	case now.After(leaf.NotAfter):
		return fmt.Sprintf("expired on %s", leaf.NotAfter.Format(time.RFC3339)), "renew it: clients refuse the gateway"
	case now.Before(leaf.NotBefore):
		return fmt.Sprintf("is not valid before %s", leaf.NotBefore.Format(time.RFC3339)), "check the clock, or wait"
	}
	return "", ""
}

// writable tries the directory, or where the daemon would make it: whoever
// checks may be another user, and what that one made the daemon could not use.
func writable(dir string) error {
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		up := filepath.Dir(dir)
		if !errors.Is(err, os.ErrNotExist) || up == dir {
			return err
		}
		dir = up
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err // the name of our own attempt helps nobody
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(filepath.Clean(f.Name())))
}

// loadTopicMap reads the operator's rows.
func loadTopicMap(cfg *config.Config) (*access.Table, []config.Problem) {
	return access.LoadTable(string(cfg.Access.Map))
}
