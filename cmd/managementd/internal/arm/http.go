package arm

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/authz/abac"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
)

const provider = "/providers/Microsoft.Authorization/"

// fault is an answer that is no success.
type fault struct {
	status        int
	code, message string
}

func (f *fault) Error() string { return f.code + ": " + f.message }

func refuse(status int, code, format string, args ...any) *fault {
	return &fault{status, code, fmt.Sprintf(format, args...)}
}

// call is one request.
type call struct {
	*Server
	w      http.ResponseWriter
	r      *http.Request
	caller model.Subject
	scope  string   // as the caller spelled it; "" for "/"
	what   string   // roleassignments, …, in lower case
	id     space.ID // of one row; zero: the list
}

// Matches tells whether the request is for this server, whose paths have no common prefix.
func Matches(r *http.Request) bool {
	p := strings.ToLower(r.URL.Path)
	return strings.Contains(p, strings.ToLower(provider)) || p == "/subscriptions" || p == "/tenants"
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 256<<10)
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("x-ms-request-id", space.NewID().String())
	if f := s.serve(w, r); f != nil {
		if f.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Bearer error="invalid_token"`)
		}
		w.Header().Set("x-ms-error-code", f.code)
		answer(w, f.status, map[string]any{"error": map[string]string{"code": f.code, "message": f.message}})
	}
}

func answer(w http.ResponseWriter, status int, body any) {
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) *fault {
	if r.URL.Query().Get("api-version") == "" {
		return refuse(http.StatusBadRequest, "MissingApiVersionParameter",
			"The api-version query parameter (?api-version=) is required for all requests.")
	}
	caller, err := s.o.Authenticate(r)
	if err != nil || caller.Object.IsZero() {
		s.o.Log.Debug("arm: refused", "err", err)
		return refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	}
	if !s.admit(w, caller.Object, r.Method) {
		return refuse(http.StatusTooManyRequests, "TooManyRequests", "Too many requests were sent in too short a time.")
	}
	switch strings.ToLower(r.URL.Path) {
	case "/subscriptions":
		list := []any{}
		if id := s.o.Subscription; id != "" {
			list = append(list, map[string]any{
				"id": "/subscriptions/" + id, "subscriptionId": id, "displayName": "development", "state": "Enabled", "tenantId": s.o.Tenant,
			})
		}
		answer(w, http.StatusOK, map[string]any{"value": list})
		return nil
	case "/tenants":
		answer(w, http.StatusOK, map[string]any{"value": []any{map[string]any{"id": "/tenants/" + s.o.Tenant.String(), "tenantId": s.o.Tenant}}})
		return nil
	}
	c := &call{Server: s, w: w, r: r, caller: caller}
	if f := c.route(); f != nil {
		return f
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if c.what == "permissions" {
		return c.permissions()
	}
	k, ok := kindsOfRow[c.what]
	if !ok {
		return refuse(http.StatusNotFound, "InvalidResourceType", "The resource type %q is not served here.", c.what)
	}
	switch right := "Microsoft.Authorization/" + k.name; {
	case r.Method == http.MethodGet && c.id.IsZero():
		return c.allowed(right+"/read", func() *fault { return c.list(k) })
	case r.Method == http.MethodGet:
		return c.allowed(right+"/read", func() *fault { return c.one(k) })
	case r.Method == http.MethodPut && !c.id.IsZero():
		return c.allowed(right+"/write", func() *fault { return k.put(c) })
	case r.Method == http.MethodDelete && !c.id.IsZero():
		return c.allowed(right+"/delete", func() *fault { return c.remove(k) })
	}
	return refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "%s is not served here.", r.Method)
}

// route splits the path {scope}/providers/Microsoft.Authorization/{what}[/{guid}], in any case.
func (c *call) route() *fault {
	path := strings.TrimSuffix(c.r.URL.Path, "/")
	at := strings.LastIndex(strings.ToLower(path), strings.ToLower(provider))
	if at < 0 {
		return refuse(http.StatusNotFound, "NotFound", "Nothing is served at %s.", path)
	}
	what, name, one := strings.Cut(path[at+len(provider):], "/")
	c.scope, c.what = path[:at], strings.ToLower(what)
	if one {
		id, err := space.ParseID(name)
		if err != nil || id.IsZero() {
			return refuse(http.StatusBadRequest, "InvalidName", "%q is no GUID.", name)
		}
		c.id = id
	}
	return nil
}

// allowed runs do if the caller may do the action at the scope.
func (c *call) allowed(action string, do func() *fault) *fault {
	for _, p := range c.held() {
		if matchesAny(p.Actions, action) && !matchesAny(p.NotActions, action) {
			return do()
		}
	}
	return refuse(http.StatusForbidden, "AuthorizationFailed",
		"The client %q with object id %q does not have authorization to perform action %q over scope %q or the scope is invalid.",
		c.caller.Object, c.caller.Object, action, "/"+strings.Trim(c.scope, "/"))
}

func matchesAny(patterns []string, action string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return abac.Glob(strings.ToLower(p), action) })
}

// held are the permissions of the caller at the scope.
func (c *call) held() []permission {
	var out []permission
	groups := c.groups(c.caller.Object)
	for _, a := range c.rows.Assignments {
		if !above(a.Scope, c.scope) || a.PrincipalID != c.caller.Object && !slices.Contains(groups, a.PrincipalID) {
			continue
		}
		if d := c.definition(a.role()); d != nil {
			out = append(out, d.Permissions...)
		}
	}
	return out
}

// groups are those of a principal.
func (c *call) groups(id space.ID) []space.ID { return c.o.Groups(id) }

func (s *Server) definition(id space.ID) *definition {
	if d := s.rows.Definitions[id]; d != nil {
		return d
	}
	return builtins()[id]
}

func (c *call) permissions() *fault {
	list := []permission{}
	for _, p := range c.held() {
		list = append(list, p.whole())
	}
	answer(c.w, http.StatusOK, map[string]any{"value": list})
	return nil
}

// whole has [] where nothing was given: ARM leaves no list out.
func (p permission) whole() permission {
	for _, l := range []*[]string{&p.Actions, &p.NotActions, &p.DataActions, &p.NotDataActions} {
		if *l == nil {
			*l = []string{}
		}
	}
	return p
}

// norm is a scope in the form in which scopes are compared.
func norm(scope string) string { return strings.ToLower(strings.Trim(scope, "/")) }

// above tells whether a row of the scope is in force at the place: it is that place or contains it.
func above(scope, at string) bool {
	s, p := norm(scope), norm(at)
	if s == "" || s == p || strings.HasPrefix(p, s+"/") {
		return true
	}
	return strings.HasPrefix(s, "providers/microsoft.management/managementgroups/") && strings.HasPrefix(p, "subscriptions/")
}
