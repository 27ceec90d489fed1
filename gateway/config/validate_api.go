package config

import (
	"fmt"
	"net/url"
	"strings"
)

// api checks the REST listener: a bearer token never crosses a wire that can
// be read, and what is asked must have a scope at which it is decided.
func (v *validator) api() {
	a := v.c.API
	if a.Address == "" {
		if a.TLS != nil {
			v.bad("api.address", "is missing although a certificate is given", "write HOST:PORT, such as 0.0.0.0:8444, or remove the section")
		}
		return
	}
	v.hostPort("api.address", a.Address)
	for i := range v.c.Listeners {
		if v.c.Listeners[i].Address == a.Address && !strings.HasSuffix(a.Address, ":0") {
			v.bad("api.address", fmt.Sprintf("is the address of listener %d, too", i+1), "give each listener its own port")
		}
	}
	switch {
	case a.TLS == nil:
		v.bad("api.tls", "is missing: bearer tokens would cross the network readable", "add tls: {cert: …, key: …}")
	case v.unread("api.tls", "cert", "key"):
	case a.TLS.Cert == "" || a.TLS.Key == "":
		v.bad("api.tls", "needs cert and key", "name the PEM files of the certificate chain and the private key")
	case a.TLS.ClientCA != "":
		v.bad("api.tls.clientCA", "is not used: callers prove themselves with tokens", "remove it")
	}
	if v.c.Instance.DeviceUpdate.Name() == "" {
		v.bad("instance.deviceUpdate.armScope", "names no instance, at which the API's requests are decided",
			"write /subscriptions/…/providers/Microsoft.DeviceUpdate/accounts/{account}/instances/{instance}")
	}
	if len(v.c.Identity.Tenants) == 0 {
		v.bad("identity.tenants", "is missing, so the API would accept no token",
			"list the tenants whose tokens are accepted, or remove the api section")
	}
	if len(v.c.Identity.Audiences.DeviceUpdate) == 0 {
		v.bad("identity.audiences.deviceUpdate", "is empty, so the API would accept no token", "write https://api.adu.microsoft.com")
	}
}

// updateEndpoint accepts exactly an https host: callers' tokens are sent there.
func (v *validator) updateEndpoint() {
	d := v.c.DeviceUpdate
	if d.Endpoint == "" {
		if d.CA != "" {
			v.bad("deviceUpdate.ca", "is given without an endpoint", "write deviceUpdate.endpoint, or remove it")
		}
		return
	}
	u, err := url.Parse(d.Endpoint)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" ||
		u.Fragment != "" || u.Opaque != "" {
		v.bad("deviceUpdate.endpoint", "is no plain https host", "write https://{account}.api.adu.microsoft.com, without a path")
	}
}
