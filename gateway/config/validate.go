package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Validate returns everything that is wrong with the values, at once, warnings
// among it. It does no I/O.
func (c *Config) Validate() []Problem {
	v := &validator{c: c}
	v.choices()
	v.instance()
	v.listeners()
	v.identity()
	v.cloud()
	v.limits()
	v.upstream()
	v.deviceUpdate()
	v.updateEndpoint()
	v.api()
	v.operator()
	sortProblems(v.problems)
	return v.problems
}

type validator struct {
	c        *Config
	problems []Problem
}

func (v *validator) bad(field, message, hint string) {
	v.problems = append(v.problems, v.c.Problem(field, message, hint))
}

// unread tells whether one of a section's keys is given and could not be read:
// that is said, and what the section lacks for it is the same mistake.
func (v *validator) unread(section string, keys ...string) bool {
	return slices.ContainsFunc(keys, func(key string) bool { return v.c.src.Unread(section + "." + key) })
}

func (v *validator) warn(field, message, hint string) {
	p := v.c.Problem(field, message, hint)
	p.Warning = true
	v.problems = append(v.problems, p)
}

// choices holds every text to the values that its field's tag allows.
func (v *validator) choices() {
	walk(reflect.ValueOf(v.c).Elem(), "", "", func(field string, tag reflect.StructTag, value reflect.Value) {
		list, limited := tag.Lookup("choices")
		if !limited || slices.Contains(strings.Split(list, ","), value.String()) {
			return
		}
		allowed := strings.ReplaceAll(strings.TrimPrefix(list, ","), ",", ", ")
		v.bad(field, fmt.Sprintf("%q is not one of the choices", clip(value.String())), "write "+allowed)
	})
}

func (v *validator) atLeast(field string, value, least float64, unit string) {
	if value < least {
		n := strconv.FormatFloat(least, 'f', -1, 64)
		v.bad(field, "is too small", "write at least "+strings.TrimSpace(n+" "+unit))
	}
}

func (v *validator) atMost(field string, value, most int) {
	if value > most {
		v.bad(field, "is too large", "write at most "+strconv.Itoa(most))
	}
}

func (v *validator) instance() {
	in := v.c.Instance
	if in.Tenant.IsZero() {
		v.bad("instance.tenant", "is missing", "write the GUID of the home tenant of this Digital Twins instance")
	}
	if in.Site.IsZero() {
		v.bad("instance.site", "is missing", "write the space path that this gateway guards: / or /{guid}/{guid}")
	}
	if in.Hub.Host == "" {
		v.bad("instance.hub.host", "is missing",
			"write the IoT Hub's host name, such as my-hub.azure-devices.net; SAS tokens are checked against it")
	} else if strings.ContainsAny(in.Hub.Host, "/:@ ") {
		v.bad("instance.hub.host", fmt.Sprintf("%q is no host name", clip(in.Hub.Host)),
			"write the bare name, without https:// and without a port")
	}
	v.armScope("instance.hub.armScope", in.Hub.ARMScope)
	v.armScope("instance.deviceUpdate.armScope", in.DeviceUpdate.ARMScope)
	p := in.DeviceUpdate.Principal
	if p.ObjectID.IsZero() != p.TenantID.IsZero() && !v.unread("instance.deviceUpdate.principal", "objectId", "tenantId") {
		v.bad("instance.deviceUpdate.principal", "needs both objectId and tenantId",
			"the object id is that of the service principal in your tenant, not the application id 6ee392c4-…")
	}
}

func (v *validator) armScope(field, scope string) {
	if scope == "" || strings.HasPrefix(strings.ToLower(scope), "/subscriptions/") && !strings.HasSuffix(scope, "/") {
		return
	}
	v.bad(field, fmt.Sprintf("%q is no ARM resource id", clip(scope)),
		"write /subscriptions/{id}/resourceGroups/{name}/providers/Microsoft.…/…, without a slash at the end")
}

func (v *validator) identity() {
	id := v.c.Identity
	seen := map[string]bool{}
	for i, t := range id.Tenants {
		at := fmt.Sprintf("identity.tenants[%d]", i)
		if t.ID.IsZero() {
			v.bad(at+".id", "is missing", "write the tenant's GUID")
		} else if seen[t.ID.String()] {
			v.bad(at+".id", "is listed twice", "merge the two entries")
		}
		seen[t.ID.String()] = true
		for j, iss := range t.Issuers {
			v.secureURL(fmt.Sprintf("%s.issuers[%d]", at, j), iss)
		}
		for j, d := range t.VerifiedDomains {
			if d == "" || strings.ContainsAny(d, "@/: ") {
				v.bad(fmt.Sprintf("%s.verifiedDomains[%d]", at, j), fmt.Sprintf("%q is no domain", clip(d)), "write a bare domain such as contoso.com")
			}
		}
	}
	switch {
	case v.unread("identity.jwks", "file", "url"):
	case len(id.Tenants) > 0 && id.JWKS.File == "" && id.JWKS.URL == "":
		v.bad("identity.jwks.file", "is missing, so no token of the listed tenants can be verified",
			"name a file with the JSON Web Key Set of the issuers, or its url, or remove identity.tenants")
	case id.JWKS.File != "" && id.JWKS.URL != "":
		v.bad("identity.jwks.url", "is given besides a file", "keep one of the two")
	case id.JWKS.URL != "":
		v.secureURL("identity.jwks.url", id.JWKS.URL)
	}
	if len(id.Tenants) > 0 && len(id.Audiences.MQTT) == 0 {
		v.bad("identity.audiences.mqtt", "is missing, so no token is accepted on MQTT",
			"list the audiences (aud) that tokens for this gateway carry")
	}
	if id.SAS.MaxLife < time.Minute {
		v.bad("identity.sas.maxLife", "is too short for any token to be used", "write at least 1m; the default is 365d")
	}
}

func (v *validator) operator() {
	a := v.c.Admin
	if a.Socket == "" {
		v.bad("admin.socket", "is missing", "write the path of the unix socket for gatehousectl, such as /run/gatehouse/admin.sock")
	} else if len(a.Socket) > 107 {
		v.bad("admin.socket", "is longer than a unix socket's name can be (107 bytes)", "choose a shorter path")
	}
	if a.Address != "" {
		v.loopback("admin.address", a.Address)
	}
	for i, uid := range a.Operators {
		if uid < 0 {
			v.bad(fmt.Sprintf("admin.operators[%d]", i), "is no user id", "write the numeric id that `id -u NAME` prints")
		}
	}
	if v.c.State.Dir == "" {
		v.bad("state.dir", "is missing", "name the directory for cache and messages, such as /var/lib/gatehouse")
	}
	au := v.c.Audit
	v.atLeast("audit.ratePerPrincipal", au.RatePerPrincipal, 0.01, "records a second")
	v.atLeast("audit.ring", float64(au.Ring), 16, "records")
	v.atMost("audit.ring", au.Ring, 1000000)
	v.atLeast("audit.maxSize", float64(au.MaxSize), 4096, "bytes")
	v.atLeast("audit.keep", float64(au.Keep), 1, "files")
}

func (v *validator) loopback(field, address string) {
	host, ok := v.hostPort(field, address)
	if !ok {
		return
	}
	if ip, err := netip.ParseAddr(host); host != "localhost" && (err != nil || !ip.IsLoopback()) {
		v.bad(field, fmt.Sprintf("%q is not on loopback, and this page asks nobody who they are", clip(address)),
			"write 127.0.0.1:PORT, and reach it from elsewhere through ssh -L")
	}
}

func (v *validator) hostPort(field, address string) (host string, ok bool) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		if n, e := strconv.ParseUint(port, 10, 16); e == nil && (n > 0 || host == "127.0.0.1") {
			return host, true
		}
	}
	v.bad(field, fmt.Sprintf("%q is no address", clip(address)), "write HOST:PORT, such as 0.0.0.0:8883 or [::]:8883")
	return "", false
}

// secureURL accepts https, and http on loopback for a development cloud.
func (v *validator) secureURL(field, raw string) {
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Host == "":
		v.bad(field, "is no URL", "write https://host/…")
	case u.User != nil:
		v.bad(field, "holds a user name or password", "name a credential file instead; URLs reach logs")
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopbackHost(u.Hostname())):
		v.bad(field, fmt.Sprintf("uses %q, which does not prove who answers", clip(u.Scheme)), "write https://")
	}
}

func isLoopbackHost(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}
