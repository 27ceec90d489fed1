package management

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"path"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// Base is where the API lives on its host.
const Base = "/management/api/v1.0"

const maxQuery = 16 << 10

// call is one request: who asks, for what, and the snapshot that answers it.
type call struct {
	*Server
	w      http.ResponseWriter
	r      *http.Request
	caller Caller
	state  *state
	query  query
	view   *view
}

type handler func(c *call) error

// routes lists everything that the API answers. Segments are in
// lower case: requests are folded before they are matched.
func (s *Server) routes() *http.ServeMux {
	routes := map[string]handler{
		"GET /system/roles": (*call).getRoles,

		"GET /roleassignments":         (*call).getAssignments,
		"POST /roleassignments":        (*call).postAssignment,
		"GET /roleassignments/check":   (*call).checkAssignment,
		"DELETE /roleassignments/{id}": (*call).deleteAssignment,

		"GET /spaces":         spaces.list,
		"POST /spaces":        (*call).postSpace,
		"GET /spaces/{id}":    spaces.get,
		"PATCH /spaces/{id}":  (*call).patchSpace,
		"DELETE /spaces/{id}": (*call).deleteSpace,

		"GET /devices":         devices.list,
		"POST /devices":        (*call).postDevice,
		"GET /devices/{id}":    devices.get,
		"PATCH /devices/{id}":  (*call).patchDevice,
		"DELETE /devices/{id}": (*call).deleteDevice,

		"GET /sensors":         sensors.list,
		"POST /sensors":        (*call).postSensor,
		"GET /sensors/{id}":    sensors.get,
		"PATCH /sensors/{id}":  (*call).patchSensor,
		"DELETE /sensors/{id}": sensors.remove,

		"GET /userdefinedfunctions":      functions.list,
		"GET /userdefinedfunctions/{id}": functions.get,

		"GET /users":         users.list,
		"PUT /users":         (*call).putUser,
		"GET /users/{id}":    users.get,
		"PATCH /users/{id}":  (*call).patchUser,
		"DELETE /users/{id}": users.remove,

		"GET /keystores":                       keyStores.list,
		"POST /keystores":                      (*call).postKeyStore,
		"GET /keystores/{id}":                  keyStores.get,
		"PATCH /keystores/{id}":                (*call).patchKeyStore,
		"DELETE /keystores/{id}":               keyStores.remove,
		"GET /keystores/{id}/keys":             (*call).getKeys,
		"POST /keystores/{id}/keys":            (*call).postKey,
		"GET /keystores/{id}/keys/{key}":       (*call).getKey,
		"PATCH /keystores/{id}/keys/{key}":     (*call).patchKey,
		"GET /keystores/{id}/keys/{key}/token": (*call).getToken,

		"GET /gateway/changes": (*call).getChanges,
		"GET /changes":         (*call).getChanges,
		"GET /gateway/rights":  (*call).getRights,

		"GET /gateway/certificateauthorities":         (*call).getAuthorities,
		"PUT /gateway/certificateauthorities/{id}":    (*call).putAuthority,
		"DELETE /gateway/certificateauthorities/{id}": authorities.remove,
	}
	maps.Copy(routes, azureRoutes())
	mux := http.NewServeMux()
	for pattern, h := range routes {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			c := r.Context().Value(callKey{}).(*call) // put there by ServeHTTP, below
			c.r = r
			if err := h(c); err != nil {
				c.fail(err)
			}
		})
	}
	return mux
}

type callKey struct{}

// ServeHTTP throttles and authenticates the request, folds its path to lower case, and routes it.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	id := r.Header.Get("X-Ms-Client-Request-Id")
	if _, err := space.ParseID(id); err != nil {
		id = space.NewID().String()
	}
	w.Header().Set("X-Ms-Request-Id", id)
	w.Header().Set("Cache-Control", "no-store")
	if !s.limits.before(r) {
		writeFailure(w, asFailure(tooMany()))
		return
	}
	caller, err := s.o.Authenticate(r)
	if err != nil {
		s.limits.refused(r)
		s.refused.Do(func() { s.log.Info("management API: refused", "err", err, "remote", r.RemoteAddr) })
		writeUnauthorized(w)
		return
	}
	c := &call{Server: s, w: w, r: r, caller: caller, state: s.state.Load()}
	if !s.limits.accepted(r, caller.principal()) {
		c.fail(tooMany())
		return
	}
	if c.query, err = parseQuery(r); err != nil {
		c.fail(err)
		return
	}
	var site space.Path
	if text := c.query.get("site"); text != "" {
		if site, err = space.ParsePath(text); err != nil {
			c.fail(badRequest("site: want / or /{guid}/{guid}…"))
			return
		}
	}
	c.view = newView(c.state.policy, &caller.Subject, site)
	c.route()
}

// route matches the folded path: any case, with or without a slash at the end.
func (c *call) route() {
	folded, ok := strings.CutPrefix(strings.ToLower(c.r.URL.Path), Base)
	folded = strings.TrimSuffix(folded, "/")
	if !ok || !strings.HasPrefix(folded, "/") || path.Clean(folded) != folded {
		c.fail(notFound("There is no such route."))
		return
	}
	r := c.r.WithContext(context.WithValue(c.r.Context(), callKey{}, c))
	u := *r.URL
	u.Path, u.RawPath = folded, ""
	r.URL = &u
	if _, pattern := c.mux.Handler(r); pattern == "" {
		c.fail(notFound("There is no such route."))
		return
	}
	c.mux.ServeHTTP(c.w, r)
}

func (c *call) fail(err error) {
	f := asFailure(err)
	if f.status >= 500 {
		c.log.Error("management API: failed", "method", c.r.Method, "path", c.r.URL.Path, "caller", c.caller.Name, "err", err)
	} else {
		c.log.Debug("management API: refused", "method", c.r.Method, "path", c.r.URL.Path,
			"caller", c.caller.Name, "status", f.status, "reason", f.message)
	}
	writeFailure(c.w, f)
}

// body reads the request's JSON object.
func (c *call) body() (wire.Object, error) {
	data, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, wire.MaxRequest))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return wire.Object{}, err
		}
		return wire.Object{}, badRequest("The body could not be read.")
	}
	return wire.ParseObject(data)
}

// oneType refuses an object that has its type both by name and by number
// (docs/spec/management-api.md 4.1), because the two could disagree.
func oneType(o wire.Object) error {
	for _, name := range []string{"type", "subtype", "dataType"} {
		if n, err := o.Int(name + "Id"); err == nil && n != 0 && o.Present(name) {
			return badRequest("Cannot specify both %s and %sId.", name, name)
		}
	}
	return nil
}

// id is the {id} of the route.
func (c *call) id() (space.ID, error) {
	id, err := space.ParseID(c.r.PathValue("id"))
	if err != nil || id.IsZero() {
		return space.ID{}, badRequest("The id in the route is not a GUID.")
	}
	return id, nil
}

func (c *call) ok(v any) error {
	writeJSON(c.w, http.StatusOK, v)
	return nil
}

// created answers 201 with the id as a JSON string.
func (c *call) created(collection string, id space.ID) error {
	c.w.Header().Set("Location", Base+"/"+collection+"/"+id.String())
	writeJSON(c.w, http.StatusCreated, id.String())
	return nil
}

// noContent answers 204, unless the change failed.
func (c *call) noContent(err error) error {
	if err == nil {
		c.w.WriteHeader(http.StatusNoContent)
	}
	return err
}

// may decides by the snapshot on which a transaction is based, not by the one that the
// request found, so that a right that was withdrawn in between changes nothing any more.
func (c *call) may(t *tx, access model.Access, r model.ResourceType, at space.Path) bool {
	return t.base.policy.allowed(&c.caller.Subject, access, r, at)
}

// need returns an error (403) unless may allows the operation.
func (c *call) need(t *tx, access model.Access, r model.ResourceType, at space.Path) error {
	if !c.may(t, access, r, at) {
		return forbidden()
	}
	return nil
}
