package main

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/cmd/managementd/internal/issuer"
)

// validate reports what is wrong with the issuer's settings.
func (i *issuerSettings) validate(wrong func(field, message, hint string)) {
	if u, err := url.Parse(i.URL); i.URL != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		wrong("issuer.url", "is no https address",
			"write for example https://localhost:8443/{tenant}/v2.0: clients refuse an authority without TLS")
	}
	for n, a := range i.Accounts {
		proven := a.Secret != "" || !a.User && len(a.Certificates)+len(a.Federated) > 0
		if a.ID == "" || !proven || a.ObjectID.IsZero() {
			wrong(fmt.Sprintf("issuer.accounts[%d]", n), "needs id, secret and objectId", "complete it or remove it; "+
				"a service principal may have certificates or federated instead of a secret")
		}
		for _, r := range a.Redirects {
			redirect(wrong, fmt.Sprintf("issuer.accounts[%d].redirects", n), r)
		}
	}
	for n, c := range i.Clients {
		if c.ID == "" {
			wrong(fmt.Sprintf("issuer.clients[%d].id", n), "is missing", "write the application id")
		}
		for _, r := range c.Redirects {
			redirect(wrong, fmt.Sprintf("issuer.clients[%d].redirects", n), r)
		}
	}
	for n, a := range i.Audiences {
		at := fmt.Sprintf("issuer.audiences[%d].version", n)
		switch {
		case a.Version != 0 && a.Version != 1 && a.Version != 2:
			wrong(at, "is neither 1 nor 2", "write the form of the tokens for this resource")
		case a.Version == 1 && !strings.HasSuffix(i.URL, "/v2.0"):
			wrong(at, "is 1, and issuer.url does not end in /v2.0, so that no issuer of v1 tokens can be told from it",
				"write an issuer.url such as https://localhost:8443/{tenant}/v2.0")
		}
	}
	if i.DeviceInterval < time.Second || i.DeviceInterval%time.Second != 0 {
		wrong("issuer.deviceInterval", "is no whole number of seconds", "write for example 5s: clients are told it in seconds")
	}
	i.validateIdentities(wrong)
}

func (i *issuerSettings) validateIdentities(wrong func(field, message, hint string)) {
	system := 0
	names := map[string]bool{}
	for n, id := range i.Identities {
		at := fmt.Sprintf("issuer.identities[%d]", n)
		if id.Name == "" || strings.Contains(id.Name, "/") || names[id.Name] || id.ClientID == "" || id.ObjectID.IsZero() {
			wrong(at, "needs a name of its own, objectId and clientId", "complete it or remove it")
		}
		names[id.Name] = true
		if !id.UserAssigned {
			system++
		}
		if system == 2 && !id.UserAssigned {
			wrong(at+".userAssigned", "is off for a second identity", "a machine has one identity that the system assigns: write on")
		}
	}
	switch {
	case i.IdentityListen == "" && len(i.Identities) > 0:
		wrong("issuer.identityListen", "is missing", "write for example 127.0.0.1:8445")
	case i.IdentityListen == "":
	default:
		if _, _, err := net.SplitHostPort(i.IdentityListen); err != nil {
			wrong("issuer.identityListen", "is no host:port", "write for example 127.0.0.1:8445")
		} else if !loopback(i.IdentityListen) {
			wrong("issuer.identityListen", "opens the managed identities beyond this machine",
				"whoever reaches it gets their tokens: bind it to 127.0.0.1")
		}
	}
}

// redirect reports an address that users must not be sent back to.
func redirect(wrong func(field, message, hint string), field, address string) {
	u, err := url.Parse(address)
	switch {
	case err != nil || !u.IsAbs() || u.Fragment != "" || strings.Contains(address, "*"):
		wrong(field, "holds what is no absolute address without a fragment", "write the exact address, such as http://localhost")
	case u.Scheme == "http" && !loopback(net.JoinHostPort(u.Hostname(), "0")):
		wrong(field, "sends codes over the network without TLS", "write https://, or http://localhost")
	}
}

// resources are what the issuer's tokens can be for.
func (i *issuerSettings) resources() []issuer.Resource {
	out := make([]issuer.Resource, 0, len(i.Audiences)+1)
	for _, a := range i.Audiences {
		out = append(out, issuer.Resource{URI: a.Resource, Audience: a.Audience, Version: a.Version})
	}
	return append(out, issuer.Resource{URI: i.Management})
}

// managementAudiences are both spellings of the resource, and its application id if the issuer is set to write that.
func (i *issuerSettings) managementAudiences() []string {
	out := issuer.BothSpellings(i.Management)
	for _, a := range i.Audiences {
		if strings.TrimRight(a.Resource, "/") == strings.TrimRight(i.Management, "/") {
			out = append(out, a.Audience)
		}
	}
	return out
}
