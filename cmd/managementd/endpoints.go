package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/sync/management"
)

// endpoints prints where the parts of this cloud are, for people or, with --shell, as assignments for a script:
// eval "$(managementd endpoints --shell)". It reads the configuration only: the daemon need not run.
func endpoints(args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet("managementd endpoints", flag.ContinueOnError)
	flags.SetOutput(stderr)
	file := flags.String("config", defaultConfig, "configuration file")
	shell := flags.Bool("shell", false, "as assignments that a shell evaluates")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 64
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(stderr, "managementd endpoints: unexpected argument %q\n", flags.Arg(0))
		return 64
	}
	s, problems := load(*file)
	if len(problems) > 0 {
		for _, p := range problems {
			fmt.Fprintln(stderr, p)
		}
		return config.ExitCode
	}
	fmt.Fprintln(stdout, "# A development issuer: whoever trusts its key trusts all that it signs. Never for production.")
	for _, e := range s.where() {
		if *shell {
			fmt.Fprintf(stdout, "%s=%s\n", e.name, quote(e.value))
		} else {
			fmt.Fprintf(stdout, "%-16s %-72s %s\n", e.name, e.value, e.meaning)
		}
	}
	return 0
}

type endpoint struct{ name, value, meaning string }

func (s settings) where() []endpoint {
	base := ""
	if u, err := url.Parse(s.Issuer.URL); err == nil {
		base = u.Scheme + "://" + u.Host
	}
	local := ""
	if s.Issuer.IdentityListen != "" {
		local = "http://" + s.Issuer.IdentityListen
	}
	all := []endpoint{
		{"ARM", base, "Azure Resource Manager"},
		{"AUTHORITY", base + "/adfs", "the authority of az and MSAL, without instance discovery"},
		{"GRAPH", base + "/graph/", "Microsoft Graph"},
		{"MANAGEMENT", base + management.Base, "the management API"},
		{"MANAGEMENT_SCOPE", s.Issuer.Management, "the resource of its tokens"},
		{"DEVICEUPDATE", s.Endpoints.DeviceUpdate, "the Device Update REST API of a gateway (endpoints.deviceUpdate)"},
		{"CA", string(s.Endpoints.CA), "the authority of the certificate (endpoints.ca)"},
		{"TENANT", s.Tenant.String(), "the home tenant"},
		{"IMDS", local, "the metadata service of a virtual machine, by http_proxy (issuer.identityListen)"},
		{"IDENTITY", "", "MSI_ENDPOINT and IDENTITY_ENDPOINT of App Service"},
		{"IDENTITY_SECRET", "", "the file with MSI_SECRET and IDENTITY_HEADER"},
	}
	if local != "" {
		all[len(all)-2].value, all[len(all)-1].value = local+"/msi/token", s.identitySecret()
	}
	return all
}

// quote makes a word that a shell takes as it stands.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
