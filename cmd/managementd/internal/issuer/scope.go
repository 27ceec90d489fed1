package issuer

import (
	"strings"
)

// Resource is what a token can be for, and how it is named in the token.
type Resource struct {
	URI      string // as scopes name it; a slash at its end does not matter
	Audience string // the aud; "" or the same text as URI: as the request spelled the resource
	Version  int    // of the tokens for it, 1 or 2; 0: 2. In Entra it is the resource that decides this
}

// DeviceUpdate is the resource of the Device Update REST API.
const DeviceUpdate = "https://api.adu.microsoft.com"

// wanted is what a request asks a token for.
type wanted struct {
	audience  string
	version   int
	scope     string // as it was asked for, without what concerns the ID token and refreshing
	delegated bool   // the scope names a permission, which an application does not ask for
	openid    bool   // an ID token is asked for
	offline   bool   // a refresh token is asked for
}

// permissions that a scope may name after the resource. ".default" is all that were consented to.
const (
	allPermissions = "/.default"
	impersonation  = "/user_impersonation"
)

// want reads a scope (v2) or a resource (v1). Exactly one "/.default" is cut off, so that the slash of
// "https://api.adu.microsoft.com//.default" stays, and gets into the audience: docs/spec/azure-today.md 0.
func (i *Issuer) want(scope, resource string) (wanted, *fault) {
	w := wanted{version: 2}
	var names []string
	if resource != "" {
		w.offline, w.openid = true, true // the v1 form has no scopes to ask for them by
		names = append(names, resource)
		w.scope = resource + allPermissions
	}
	for _, s := range strings.Fields(scope) {
		switch s {
		case "openid":
			w.openid = true
		case "offline_access":
			w.offline = true
		case "profile", "email":
		default:
			if resource != "" {
				continue // a v1 request may name scopes besides, which mean nothing there
			}
			name, ok := strings.CutSuffix(s, allPermissions)
			if !ok {
				name, ok = strings.CutSuffix(s, impersonation)
				w.delegated = true
			}
			if !ok || name == "" {
				return w, bad("invalid_scope", 70011,
					"the scope is no resource with /.default or /user_impersonation behind it")
			}
			names = append(names, name)
			w.scope = strings.TrimSpace(w.scope + " " + s)
		}
	}
	if len(names) == 0 && (w.openid || w.offline) {
		names = append(names, i.Graph()) // who only signs in gets a token for Graph, as from Entra
	}
	if len(names) == 0 {
		return w, bad("invalid_request", 900144, "the request body must contain the parameter scope")
	}
	for _, n := range names {
		if !sameResource(n, names[0]) {
			return w, bad("invalid_scope", 28000, "the scope names more than one resource, and a token is for one")
		}
	}
	r, ok := i.resource(names[0])
	if !ok {
		return w, bad("invalid_resource", 500011, "the scope names no resource that is known here")
	}
	w.audience, w.version = names[0], max(r.Version, 1)
	if r.Version == 0 {
		w.version = 2
	}
	if r.Audience != "" && !sameResource(r.Audience, r.URI) {
		w.audience = r.Audience
	}
	return w, nil
}

func sameResource(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "/"), strings.TrimSuffix(b, "/"))
}

func (i *Issuer) resource(name string) (Resource, bool) {
	for _, r := range i.o.Resources {
		if sameResource(r.URI, name) {
			return r, true
		}
	}
	for _, own := range []string{i.ARM(), i.Graph(), DeviceUpdate} {
		if sameResource(own, name) {
			return Resource{URI: own}, true
		}
	}
	return Resource{}, false
}

// lower is how client ids, GUIDs and names of users are compared.
func lower(s string) string { return strings.ToLower(strings.TrimSpace(s)) }
