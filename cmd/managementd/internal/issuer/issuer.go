// Package issuer is a development token issuer that answers like the Entra
// endpoints an integrator already knows: POST /{tenant}/oauth2/v2.0/token
// (client credentials and, for development users, password grants) and
// GET /{tenant}/discovery/v2.0/keys. Its tokens are real signed JWTs. It is for
// one machine and for tests: passwords and secrets stand in its configuration.
package issuer

import (
	"crypto/subtle"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
)

// lifetime of an issued token; Entra's default is about as long.
const lifetime = time.Hour

// Account is a service principal or a user that may ask for tokens.
type Account struct {
	// The client id of a service principal, or the upn of a user.
	ID string `yaml:"id" required:"yes" example:"gateway-1"`
	// The secret, or the user's password: for development only.
	Secret string `yaml:"secret" required:"yes" example:"not-for-production"`
	// The Entra object id that role assignments name.
	ObjectID space.ID `yaml:"objectId" required:"yes" example:"0fc863aa-eb51-4704-a312-7d635d70e000"`
	// On: it gets the delegated token of a member; off: an application token.
	User bool `yaml:"user"`
	// On: the user is a guest of the tenant.
	Guest bool `yaml:"guest"`
	// The groups that the token names.
	Groups []space.ID `yaml:"groups"`
}

// Options of an Issuer.
type Options struct {
	Tenant   space.ID
	Signer   *jwt.Issuer
	Accounts []Account
	// Audiences maps the scope's resource (`https://host` or a GUID) to the
	// `aud` claim; a resource that is not listed is refused.
	Audiences map[string]string
}

// Issuer is an http.Handler.
type Issuer struct {
	o   Options
	mux *http.ServeMux
}

// New returns an issuer for o.
func New(o Options) *Issuer {
	i := &Issuer{o: o, mux: http.NewServeMux()}
	i.mux.HandleFunc("POST /{tenant}/oauth2/v2.0/token", i.token)
	i.mux.HandleFunc("GET /{tenant}/discovery/v2.0/keys", i.keys)
	return i
}

func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.mux.ServeHTTP(w, r) }

func (i *Issuer) keys(w http.ResponseWriter, r *http.Request) {
	if !i.home(r) {
		refuse(w, http.StatusNotFound, "invalid_tenant", "no such tenant here")
		return
	}
	b, err := i.o.Signer.JWKS()
	if err != nil {
		refuse(w, http.StatusInternalServerError, "server_error", err.Error())
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 16<<10)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "invalid_request", "the body must be application/x-www-form-urlencoded")
		return
	}
	if !i.home(r) {
		refuse(w, http.StatusBadRequest, "invalid_tenant", "no such tenant here")
		return
	}
	form := r.PostForm
	var id, secret string
	wantUser := false
	switch form.Get("grant_type") {
	case "client_credentials":
		id, secret = form.Get("client_id"), form.Get("client_secret")
	case "password":
		id, secret, wantUser = form.Get("username"), form.Get("password"), true
	default:
		refuse(w, http.StatusBadRequest, "unsupported_grant_type", "use client_credentials or password")
		return
	}
	account, ok := i.account(id, secret, wantUser)
	if !ok {
		refuse(w, http.StatusUnauthorized, "invalid_client", "unknown account or wrong secret")
		return
	}
	audience, ok := i.audience(form.Get("scope"))
	if !ok {
		refuse(w, http.StatusBadRequest, "invalid_scope", "the scope names no resource known here")
		return
	}
	signed, err := i.o.Signer.Mint(tokenFor(account, audience))
	if err != nil {
		refuse(w, http.StatusInternalServerError, "server_error", err.Error())
		return
	}
	writeJSON(w, http.StatusOK, map[string]any{"token_type": "Bearer", "expires_in": int(lifetime.Seconds()), "access_token": signed})
}

func (i *Issuer) account(id, secret string, user bool) (Account, bool) {
	for _, a := range i.o.Accounts {
		if a.User == user && strings.EqualFold(a.ID, id) && a.Secret != "" &&
			subtle.ConstantTimeCompare([]byte(a.Secret), []byte(secret)) == 1 {
			return a, true
		}
	}
	return Account{}, false
}

// audience of the first scope: {resource}/.default or {resource}/{permission}.
func (i *Issuer) audience(scope string) (string, bool) {
	first, _, _ := strings.Cut(strings.TrimSpace(scope), " ")
	cut := strings.LastIndexByte(first, '/')
	if cut <= 0 {
		return "", false
	}
	aud, ok := i.o.Audiences[strings.TrimSuffix(first[:cut], "/")]
	return aud, ok
}

func (i *Issuer) home(r *http.Request) bool {
	id, err := space.ParseID(r.PathValue("tenant"))
	return err == nil && id == i.o.Tenant
}

func tokenFor(a Account, audience string) jwt.Mint {
	m := jwt.Mint{
		Kind:     jwt.ServicePrincipal,
		Object:   a.ObjectID,
		Audience: audience,
		Name:     a.ID,
		Groups:   a.Groups,
		Life:     lifetime,
	}
	if a.User {
		m.Kind, m.UPN, m.Guest = jwt.User, a.ID, a.Guest
	}
	return m
}

func refuse(w http.ResponseWriter, status int, code, description string) {
	writeJSON(w, status, map[string]string{"error": code, "error_description": "managementd: " + description})
}

func writeJSON(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
