package issuer

import (
	"crypto/subtle"
	"encoding/json"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
)

// managedLife of a managed identity's token, as in Azure. The same token is answered until half of it is over, so
// that a token which was refused comes back: docs/spec/azure-today.md F.
const managedLife = 24 * time.Hour

// Identity is a managed identity of this machine.
type Identity struct {
	// How it is switched on and off: PUT /identities/{name}.
	Name string `yaml:"name" required:"yes" json:"name" example:"gateway"`
	// The object id that role assignments name. One that is assigned by the system gets a new one whenever it is
	// switched on.
	ObjectID space.ID `yaml:"objectId" required:"yes" json:"principalId" example:"5e4c1ce0-0000-4000-8000-000000000009"`
	// The client id by which a user-assigned identity is chosen.
	ClientID string `yaml:"clientId" required:"yes" json:"clientId" example:"c11e0000-0000-4000-8000-000000000009"`
	// The ARM id: of a user-assigned identity itself, otherwise of the machine. xms_mirid of its tokens.
	ResourceID string `yaml:"resourceId" json:"resourceId"`
	// On: assigned by the user: it keeps its object id. Off: assigned by the system, at most one.
	UserAssigned bool `yaml:"userAssigned" json:"userAssigned"`
	// On: it begins switched off.
	Off bool `yaml:"off" json:"off"`
}

// State is what became of the identities since they were configured.
type State struct {
	Identities []Identity `json:"identities"`
	Ended      []space.ID `json:"ended"` // object ids whose tokens are good for nothing any more
}

// Since is what is configured, with what became of it: whether an identity is off, and the object id that the system gave
// it last.
func (s State) Since(configured []Identity) []Identity {
	out := slices.Clone(configured)
	for n := range out {
		for _, was := range s.Identities {
			if was.Name == out[n].Name && was.UserAssigned == out[n].UserAssigned {
				out[n].Off = was.Off
				if !was.UserAssigned {
					out[n].ObjectID = was.ObjectID
				}
			}
		}
	}
	return out
}

type managedToken struct {
	text    string
	begins  time.Time
	expires time.Time
}

// Local serves what must not be reached from elsewhere, over plain HTTP as in Azure: the managed-identity endpoints,
// and the switches of the identities. It authenticates nobody but programs of this machine, so that the caller binds it
// to loopback. What a browser can be made to send from a foreign page it refuses: the header Metadata is needed, and a Host
// on loopback.
func (i *Issuer) Local() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !localHost(r.Host) {
			managedFault(w, http.StatusForbidden, "invalid_request", "the Host of the request is neither loopback nor the metadata service's")
			return
		}
		i.local.ServeHTTP(w, r)
	})
}

// metadataHost is the address by which clients know the metadata service. They get here by http_proxy.
const metadataHost = "169.254.169.254"

func localHost(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || host == metadataHost || ip != nil && ip.IsLoopback()
}

func (i *Issuer) managedRoutes() {
	i.local.HandleFunc("GET /metadata/identity/oauth2/token", i.imds)
	i.local.HandleFunc("GET /msi/token", i.appService)
	i.local.HandleFunc("GET /msi/token/", i.appService) // az writes a slash behind MSI_ENDPOINT
	i.local.HandleFunc("GET /identities", i.listIdentities)
	i.local.HandleFunc("PUT /identities/{name}", i.switchIdentity)
}

// imds answers as a virtual machine's metadata service.
func (i *Issuer) imds(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	switch {
	case !strings.EqualFold(r.Header.Get("Metadata"), "true"):
		managedFault(w, http.StatusBadRequest, "invalid_request", "the header Metadata: true is needed")
		return
	case r.Header.Get("X-Forwarded-For") != "":
		managedFault(w, http.StatusBadRequest, "invalid_request", "requests that were forwarded are refused")
		return
	case q.Get("api-version") == "":
		managedFault(w, http.StatusBadRequest, "invalid_request", "the query needs api-version")
		return
	}
	id, t, ok := i.managedToken(w, r)
	if !ok {
		return
	}
	left := strconv.Itoa(seconds(t.expires.Sub(i.o.Now())))
	writeJSON(w, http.StatusOK, map[string]string{ // all text, numbers too
		"access_token":   t.text,
		"token_type":     "Bearer",
		"expires_in":     left,
		"ext_expires_in": left,
		"expires_on":     strconv.FormatInt(t.expires.Unix(), 10),
		"not_before":     strconv.FormatInt(t.begins.Unix(), 10),
		"resource":       q.Get("resource"),
		"client_id":      id.ClientID,
	})
}

// appService answers in the forms of 2017 (az: MSI_ENDPOINT, MSI_SECRET) and 2019 (azidentity: IDENTITY_ENDPOINT,
// IDENTITY_HEADER).
func (i *Issuer) appService(w http.ResponseWriter, r *http.Request) {
	old := r.URL.Query().Get("api-version") == "2017-09-01"
	header := "X-IDENTITY-HEADER"
	if old {
		header = "secret"
	}
	if i.o.Secret == "" || subtle.ConstantTimeCompare([]byte(r.Header.Get(header)), []byte(i.o.Secret)) != 1 {
		managedFault(w, http.StatusUnauthorized, "unauthorized", "the header "+header+" is not the secret of this endpoint")
		return
	}
	id, t, ok := i.managedToken(w, r)
	if !ok {
		return
	}
	ends := strconv.FormatInt(t.expires.Unix(), 10)
	if old {
		ends = t.expires.UTC().Format("01/02/2006 15:04:05") + " +00:00"
	}
	writeJSON(w, http.StatusOK, map[string]string{
		"access_token": t.text,
		"token_type":   "Bearer",
		"expires_on":   ends,
		"resource":     r.URL.Query().Get("resource"),
		"client_id":    id.ClientID,
	})
}

// managedToken is the token that the query asks for. false: it has been answered.
func (i *Issuer) managedToken(w http.ResponseWriter, r *http.Request) (Identity, managedToken, bool) {
	q := r.URL.Query()
	resource := q.Get("resource")
	if resource == "" {
		managedFault(w, http.StatusBadRequest, "invalid_request", "the query needs resource")
		return Identity{}, managedToken{}, false
	}
	want, f := i.want("", strings.TrimSuffix(resource, allPermissions))
	if f != nil {
		managedFault(w, http.StatusBadRequest, "invalid_resource", "AADSTS500011: "+f.text)
		return Identity{}, managedToken{}, false
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	id, wrong := i.choose(func(name string) string { return q.Get(name) })
	if wrong != "" {
		managedFault(w, http.StatusBadRequest, "invalid_request", wrong)
		return Identity{}, managedToken{}, false
	}
	key, now := id.ObjectID.String()+" "+want.audience, i.o.Now()
	t, ok := i.managed[key]
	if !ok || now.Sub(t.begins) >= managedLife/2 {
		text, err := i.o.Signer.Mint(jwt.Mint{
			Kind:     jwt.ServicePrincipal,
			Object:   id.ObjectID,
			Audience: want.audience,
			Name:     id.Name,
			Life:     managedLife,
			Version:  want.version,
			Client:   id.ClientID,
			Resource: id.ResourceID,
		})
		if err != nil {
			managedFault(w, http.StatusInternalServerError, "server_error", "the token could not be signed")
			return Identity{}, managedToken{}, false
		}
		t = managedToken{text: text, begins: now, expires: now.Add(managedLife)}
		i.managed[key] = t
	}
	return id, t, true
}

// choose finds the identity that a query selects; i.mu is held. Without a selector it is the system's, or the only
// one of the user's.
func (i *Issuer) choose(query func(string) string) (id Identity, wrong string) {
	const notFound = "Identity not found"
	match := func(which func(Identity) bool) (Identity, string) {
		n := slices.IndexFunc(i.identities, func(id Identity) bool { return !id.Off && which(id) })
		if n < 0 {
			return Identity{}, notFound
		}
		return i.identities[n], ""
	}
	selectors := 0
	for name, field := range map[string]func(Identity) string{
		"client_id":    func(id Identity) string { return id.ClientID },
		"clientid":     func(id Identity) string { return id.ClientID },
		"object_id":    func(id Identity) string { return id.ObjectID.String() },
		"principal_id": func(id Identity) string { return id.ObjectID.String() },
		"mi_res_id":    func(id Identity) string { return id.ResourceID },
		"msi_res_id":   func(id Identity) string { return id.ResourceID },
	} {
		if v := query(name); v != "" {
			selectors++
			id, wrong = match(func(known Identity) bool { return strings.EqualFold(field(known), v) })
		}
	}
	if selectors > 1 {
		return Identity{}, "the query selects an identity in more than one way"
	}
	if selectors == 1 {
		return id, wrong
	}
	if id, wrong = match(func(id Identity) bool { return !id.UserAssigned }); wrong == "" {
		return id, ""
	}
	users := slices.DeleteFunc(slices.Clone(i.identities), func(id Identity) bool { return id.Off })
	if len(users) > 1 {
		return Identity{}, "Multiple user assigned identities exist, " +
			"please specify the clientId / resourceId of the identity in the token request"
	}
	return match(func(Identity) bool { return true })
}

func managedFault(w http.ResponseWriter, status int, code, text string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": text})
}

func (i *Issuer) listIdentities(w http.ResponseWriter, _ *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	writeJSON(w, http.StatusOK, map[string]any{"value": i.identities, "tenantId": i.o.Tenant})
}

// switchIdentity turns an identity on or off: {"on": true}. Off ends its tokens (Ended) and so what its assignments
// grant. On again, one that the system assigns has another object id, which no assignment names yet, as in Azure.
func (i *Issuer) switchIdentity(w http.ResponseWriter, r *http.Request) {
	if !strings.EqualFold(r.Header.Get("Metadata"), "true") {
		managedFault(w, http.StatusBadRequest, "invalid_request", "the header Metadata: true is needed")
		return
	}
	var body struct {
		On *bool `json:"on"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<10)).Decode(&body); err != nil || body.On == nil {
		managedFault(w, http.StatusBadRequest, "invalid_request", `the body must be {"on": true} or {"on": false}`)
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	n := slices.IndexFunc(i.identities, func(id Identity) bool { return id.Name == r.PathValue("name") })
	if n < 0 {
		managedFault(w, http.StatusNotFound, "invalid_request", "Identity not found")
		return
	}
	changed, ended := slices.Clone(i.identities), slices.Clone(i.ended)
	id := &changed[n]
	if id.Off == !*body.On {
		writeJSON(w, http.StatusOK, *id)
		return
	}
	id.Off = !*body.On
	switch {
	case id.Off:
		ended = append(ended, id.ObjectID)
	case id.UserAssigned:
		ended = slices.DeleteFunc(ended, func(o space.ID) bool { return o == id.ObjectID })
	default:
		id.ObjectID = space.NewID()
	}
	if i.o.Remember != nil {
		if err := i.o.Remember(State{Identities: changed, Ended: ended}); err != nil {
			managedFault(w, http.StatusInternalServerError, "server_error", "the change could not be stored, and was not made")
			return
		}
	}
	i.identities, i.ended = changed, ended
	clear(i.managed)
	writeJSON(w, http.StatusOK, *id)
}

// Ended tells whether an object id belongs to a managed identity that is switched off, whose tokens are good for
// nothing although they have not expired.
func (i *Issuer) Ended(object space.ID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.Contains(i.ended, object) ||
		slices.ContainsFunc(i.identities, func(id Identity) bool { return id.Off && id.ObjectID == object })
}

// ServicePrincipal tells whether an object id is that of an account or identity for application tokens.
func (i *Issuer) ServicePrincipal(object space.ID) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(i.o.Accounts, func(a Account) bool { return !a.User && a.ObjectID == object }) ||
		slices.ContainsFunc(i.identities, func(id Identity) bool { return id.ObjectID == object })
}
