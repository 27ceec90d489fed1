package issuer

import (
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
)

// directoryRoutes are the reads of Graph that `az ad sp show` and `az role assignment` begin with:
// docs/spec/azure-today.md A.
func (i *Issuer) directoryRoutes(handle func(string, http.HandlerFunc)) {
	handle("GET /graph/v1.0/servicePrincipals", i.known(i.findServicePrincipal))
	handle("GET /graph/v1.0/servicePrincipals/{id}", i.known(i.getObject))
	handle("GET /graph/v1.0/users", i.known(i.findUser))
	handle("GET /graph/v1.0/users/{id}", i.known(i.getObject))
	handle("POST /graph/v1.0/directoryObjects/getByIds", i.known(i.getByIDs))
}

// known lets whoever has a token of this authority for Graph or Resource Manager read.
func (i *Issuer) known(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
		var c *jwt.Claims
		var err error
		if strings.EqualFold(scheme, "Bearer") {
			c, err = i.verifier.Verify(strings.TrimSpace(token))
		}
		if c == nil || err != nil || i.Ended(c.Object) {
			w.Header().Set("WWW-Authenticate", `Bearer authorization_uri="`+i.base+`/adfs/oauth2/authorize", error="invalid_token"`)
			graphFault(w, http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
			return
		}
		h(w, r)
	}
}

func graphFault(w http.ResponseWriter, status int, code, message string) {
	writeJSON(w, status, map[string]any{"error": map[string]string{"code": code, "message": message}})
}

// object is what Graph says of a user or a service principal. az reads the kind from @odata.type.
type object map[string]any

func (i *Issuer) objects() []object {
	var out []object
	for _, a := range i.o.Accounts {
		if a.User {
			out = append(out, object{
				"@odata.type":       "#microsoft.graph.user",
				"id":                a.ObjectID,
				"displayName":       a.ID,
				"userPrincipalName": a.ID,
			})
			continue
		}
		out = append(out, servicePrincipal(a.ObjectID, a.ID, a.ID, "Application"))
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	for _, id := range i.identities {
		if !id.Off {
			out = append(out, servicePrincipal(id.ObjectID, id.ClientID, id.Name, "ManagedIdentity"))
		}
	}
	return out
}

func servicePrincipal(id space.ID, app, name, kind string) object {
	return object{
		"@odata.type":           "#microsoft.graph.servicePrincipal",
		"id":                    id,
		"appId":                 app,
		"displayName":           name,
		"servicePrincipalNames": []string{app},
		"servicePrincipalType":  kind,
	}
}

// quoted finds the one literal of the filters that clients send; a quote in it is doubled (OData).
var quoted = regexp.MustCompile(`\beq '((?:[^']|'')*)'`)

func (i *Issuer) find(w http.ResponseWriter, r *http.Request, member string) {
	m := quoted.FindStringSubmatch(r.URL.Query().Get("$filter"))
	if m == nil {
		graphFault(w, http.StatusBadRequest, "Request_UnsupportedQuery", "The filter must compare one name by eq.")
		return
	}
	want, found := strings.ReplaceAll(m[1], "''", "'"), []object{}
	for _, o := range i.objects() {
		if name, ok := o[member].(string); ok && strings.EqualFold(name, want) {
			found = append(found, o)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"value": found})
}

func (i *Issuer) findServicePrincipal(w http.ResponseWriter, r *http.Request) { i.find(w, r, "appId") }

func (i *Issuer) findUser(w http.ResponseWriter, r *http.Request) { i.find(w, r, "userPrincipalName") }

func (i *Issuer) getObject(w http.ResponseWriter, r *http.Request) {
	kind := "#microsoft.graph.user"
	if strings.Contains(r.URL.Path, "/servicePrincipals/") {
		kind = "#microsoft.graph.servicePrincipal"
	}
	for _, o := range i.objects() {
		if id, ok := o["id"].(space.ID); ok && o["@odata.type"] == kind && strings.EqualFold(id.String(), r.PathValue("id")) {
			writeJSON(w, http.StatusOK, o)
			return
		}
	}
	graphFault(w, http.StatusNotFound, "Request_ResourceNotFound", "No such object in this directory.")
}

func (i *Issuer) getByIDs(w http.ResponseWriter, r *http.Request) {
	var body struct {
		IDs []string `json:"ids"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&body); err != nil || len(body.IDs) > 1000 {
		graphFault(w, http.StatusBadRequest, "Request_BadRequest", `The body must be {"ids": [at most 1000]}.`)
		return
	}
	wanted := map[string]bool{}
	for _, id := range body.IDs {
		wanted[lower(id)] = true
	}
	found := []object{}
	for _, o := range i.objects() {
		if id, ok := o["id"].(space.ID); ok && wanted[id.String()] {
			found = append(found, o)
		}
	}
	writeJSON(w, http.StatusOK, map[string]any{"value": found})
}
