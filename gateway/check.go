package gateway

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/gatehouse/gatehouse/device/update/trust"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// Check looks at everything that a valid configuration names, that would
// only fail later, and that only an editor mends: files, the topic map, routes, the state
// directory. It starts nothing. What time mends is for Warnings, except that a state directory which
// time mends (passes) is a warning in this list.
func Check(cfg *config.Config) []config.Problem {
	problems := slices.DeleteFunc(cfg.CheckFiles(), timeMends)
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
	return append(problems, state(cfg)...)
}

// CheckAll is what config.Load found and, if it could read the file at all,
// what Check finds beyond that: everything at once, and one mistake once. If
// there is nothing, the daemon is built once as a rehearsal, so that what is
// called good starts.
func CheckAll(cfg *config.Config, loaded []config.Problem) []config.Problem {
	problems, _ := Look(cfg, loaded)
	return problems
}

// Look is CheckAll, together with everything that is worth a warning: what the
// daemon starts with all the same (Warnings), and what could not be seen by this process.
func Look(cfg *config.Config, loaded []config.Problem) (problems, warnings []config.Problem) {
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
	for _, p := range rehearse(cfg) {
		if p.Warning {
			warnings = append(warnings, p)
		} else {
			problems = append(problems, p)
		}
	}
	return problems, warnings
}

// linkCertificates looks into the certificate files of the links: authorities, and the gateway's own pairs. A
// file that cannot be read is CheckFiles' to say.
func linkCertificates(cfg *config.Config) []config.Problem {
	authorities := map[string]config.File{
		"identity.jwks.ca": cfg.Identity.JWKS.CA, "cloud.management.ca": cfg.Cloud.Management.CA,
		"upstream.iothub.ca": cfg.Upstream.IoTHub.CA, "upstream.mqtt.ca": cfg.Upstream.MQTT.CA, "deviceUpdate.ca": cfg.DeviceUpdate.CA,
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
		if _, err := os.Lstat(dir); err == nil {
			return fmt.Errorf("%s is a link that leads nowhere", dir)
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
func loadTopicMap(cfg *config.Config) (*access.TopicMap, []config.Problem) {
	return access.LoadTopicMap(string(cfg.Access.Map))
}
