package preflight

import (
	"errors"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/identity/jwks"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/gateway/upstream/links"
)

// The daemon waits for some files, because they may be renewed or written later. It starts without
// them, names them in health and reads them again; until they can be used, only what needs them
// does not run.

// isWaitedFor tells that a field names such a file.
func isWaitedFor(field string) bool {
	return isDoorFile(field) || slices.Contains(waitedFor, field)
}

var waitedFor = []string{
	"cloud.management.ca",
	"deviceUpdate.ca",
	"identity.jwks.ca",
	"identity.jwks.file",
	"upstream.iothub.ca",
	"upstream.iothub.gatewayDevice.cert",
	"upstream.iothub.gatewayDevice.key",
	"upstream.iothub.gatewayDevice.sasKey",
	"upstream.mqtt.ca",
	"upstream.mqtt.cert",
	"upstream.mqtt.key",
}

// isDoorFile tells that a field names a file that a listener shows, or judges
// clients by.
func isDoorFile(field string) bool {
	return strings.HasPrefix(field, "listeners[") && strings.Contains(field, "].tls.") || strings.HasPrefix(field, "api.tls.")
}

// ofLinks checks the files of the links and the file of the token keys, without those that said already names.
func ofLinks(cfg *config.Config, said []config.Problem) []config.Problem {
	var list []config.Problem
	say := func(field string, err error, hint string) {
		if err != nil && !errors.As(err, new(*os.PathError)) {
			list = append(list, cfg.Problem(field, "cannot be used: "+err.Error(), hint))
		}
	}
	const anAuthority = "name a PEM file with the authority's certificate"
	authorities := map[string]config.File{
		"identity.jwks.ca":    cfg.Identity.JWKS.CA,
		"cloud.management.ca": cfg.Cloud.Management.CA,
		"deviceUpdate.ca":     cfg.DeviceUpdate.CA,
	}
	for _, field := range slices.Sorted(maps.Keys(authorities)) {
		if file := authorities[field]; file != "" {
			_, err := tlsfile.Pool(file)
			say(field, err, anAuthority)
		}
	}
	if file := cfg.Identity.JWKS.File; file != "" {
		_, err := jwks.ReadFile(file)
		say("identity.jwks.file", err, "name a file with the JSON Web Key Set of the issuers")
	}
	for _, err := range links.Files(cfg) {
		field, message, _ := strings.Cut(err.Error(), ": ")
		hint := anAuthority
		switch {
		case strings.HasSuffix(field, ".sasKey"):
			hint = "put the base64 of the device's key into it, as the hub shows it"
		case strings.HasSuffix(field, ".cert"):
			hint = "name a PEM certificate chain and the key that belongs to it"
		}
		key := strings.TrimSuffix(field, "cert") + "key" // of a certificate and its key, either may be wrong
		named := func(p config.Problem) bool { return p.Field == field || p.Field == key }
		unseen := slices.Contains(cfg.Unseen(), field) || slices.Contains(cfg.Unseen(), key)
		if !errors.As(err, new(*os.PathError)) && !unseen && !slices.ContainsFunc(said, named) {
			list = append(list, cfg.Problem(field, "cannot be used: "+message, hint))
		}
	}
	return list
}
