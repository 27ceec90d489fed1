// Package issuer is a development token authority that answers as Entra does, so that unmodified clients (az, MSAL,
// azidentity) accept it: docs/spec/azure-today.md 0 lists what they ask for. It has OpenID discovery and a key set, the
// grants of the token endpoint (client credentials by secret and by assertion, authorization code with PKCE, device code,
// refresh, password), the managed-identity endpoints of App Service and of virtual machines, and the few reads of Graph
// without which `az ad sp show` does not end.
//
// Its tokens are real signed JWTs, and what protects a grant is real: docs/spec/azure-today.md 0 and RFC 6749, 7636, 8628.
// It is for one machine and for tests all the same: passwords and secrets stand in its configuration, and codes and
// refresh tokens are held in memory, so that a restart ends every sign-in.
//
// It logs nothing: no token, code, secret or password can get into a log through it.
package issuer

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
)

// lifetime of an issued token; Entra's default is about as long.
const lifetime = time.Hour

// Options of an Issuer.
type Options struct {
	Tenant   space.ID
	Signer   *jwt.Issuer
	Accounts []Account
	Clients  []Client
	// Resources are what a token can be for, besides Resource Manager and Graph of this authority.
	Resources []Resource
	// Managed are the managed identities; Secret is what App Service would put into IDENTITY_HEADER.
	Managed State
	Secret  string
	// Remember is called before an identity is switched on or off; nil: they are as configured after a restart.
	Remember func(State) error
	// Interval is how often a client may ask whether a device code is approved. 0: 5 s.
	Interval time.Duration
	Now      func() time.Time
}

// Issuer is an http.Handler. It is safe for concurrent use.
type Issuer struct {
	o        Options
	base     string // scheme://host:port of every address that it publishes
	mux      *http.ServeMux
	local    *http.ServeMux
	parties  map[string]*party // by client id in lower case; immutable
	verifier *jwt.Verifier     // of tokens for Graph

	codes     *grants[authorization]
	devices   *grants[*pairing]
	refreshes *grants[session]
	guesses   *limiter // of user codes at the verification page

	mu         sync.Mutex // guards the fields below
	identities []Identity
	managed    map[string]managedToken // by identity and resource
	ended      []space.ID              // object ids of identities that were switched off
}

// New returns an issuer for o. It fails if a certificate or a key set that an account names cannot be read.
func New(o Options) (*Issuer, error) {
	if o.Interval == 0 {
		o.Interval = 5 * time.Second
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	i := &Issuer{
		o:          o,
		base:       baseOf(o.Signer.URL()),
		codes:      newGrants[authorization](codeLife, o.Now),
		devices:    newGrants[*pairing](deviceLife, o.Now),
		refreshes:  newGrants[session](refreshLife, o.Now),
		guesses:    newLimiter(o.Now),
		identities: slices.Clone(o.Managed.Identities),
		managed:    map[string]managedToken{},
		ended:      slices.Clone(o.Managed.Ended),
	}
	i.refreshes.evict = true
	var err error
	if i.parties, err = parties(o); err != nil {
		return nil, err
	}
	if i.verifier, err = i.ownVerifier(); err != nil {
		return nil, err
	}
	i.routes()
	return i, nil
}

// baseOf is the scheme and host of the issuer's URL.
func baseOf(issuer string) string {
	u, err := url.Parse(issuer)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// ARM and Graph are the resources of this authority's own Resource Manager and Graph, as `az cloud register` takes them.
func (i *Issuer) ARM() string { return i.base + "/" }

// Graph is the resource of its Graph.
func (i *Issuer) Graph() string { return i.base + "/graph/" }

func (i *Issuer) ownVerifier() (*jwt.Verifier, error) {
	set, err := i.o.Signer.JWKS()
	if err != nil {
		return nil, err
	}
	keys, _, err := jwt.ParseKeys(set)
	if err != nil {
		return nil, err
	}
	return jwt.NewVerifier(jwt.Options{
		Tenants:   []jwt.Tenant{{ID: i.o.Tenant, Issuers: i.o.Signer.URLs()}},
		Audiences: BothSpellings(i.ARM(), i.Graph()),
		Keys:      func() jwt.Keys { return keys },
		Now:       i.o.Now,
	})
}

// BothSpellings are the resources with and without a slash at the end: clients ask for either.
func BothSpellings(resources ...string) []string {
	var out []string
	for _, r := range resources {
		bare := strings.TrimRight(r, "/")
		out = append(out, bare, bare+"/")
	}
	return out
}

func (i *Issuer) routes() {
	i.mux = http.NewServeMux()
	handle := func(pattern string, h http.HandlerFunc) { i.mux.HandleFunc(pattern, h) }
	for _, prefix := range []string{"/adfs", "/{tenant}"} {
		handle("GET "+prefix+"/.well-known/openid-configuration", i.discover)
		handle("GET "+prefix+"/v2.0/.well-known/openid-configuration", i.discover)
		handle("GET "+prefix+"/discovery/keys", i.keys)
		handle("GET "+prefix+"/discovery/v2.0/keys", i.keys)
		for _, version := range []string{"/oauth2", "/oauth2/v2.0"} {
			handle("POST "+prefix+version+"/token", i.token)
			handle("POST "+prefix+version+"/devicecode", i.devicecode)
			handle("GET "+prefix+version+"/authorize", i.authorize)
			handle("POST "+prefix+version+"/authorize", i.signIn)
		}
	}
	handle("GET /common/userrealm/{user}", i.realm)
	handle("GET /common/UserRealm/{user}", i.realm)
	handle("GET /device", i.devicePage)
	handle("POST /device", i.approve)
	i.directoryRoutes(handle)

	i.local = http.NewServeMux()
	i.managedRoutes()
}

func (i *Issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) { i.mux.ServeHTTP(w, r) }

// home tells whether the request is to this tenant. /adfs names none, and the names by which Entra looks a user's tenant up
// mean the only one that there is.
func (i *Issuer) home(r *http.Request) bool {
	switch t := strings.ToLower(r.PathValue("tenant")); t {
	case "", "common", "organizations":
		return true
	default:
		id, err := space.ParseID(t)
		return err == nil && id == i.o.Tenant
	}
}

// prefix is what stands before the addresses of the form in which the request came: /adfs or /{tenant}.
func prefix(r *http.Request) (path string, adfs bool) {
	if t := r.PathValue("tenant"); t != "" {
		return "/" + t, false
	}
	return "/adfs", true
}

func (i *Issuer) discover(w http.ResponseWriter, r *http.Request) {
	if !i.home(r) {
		i.refuse(w, r, noTenant)
		return
	}
	at, adfs := prefix(r)
	oauth := i.base + at + "/oauth2/v2.0"
	keys := i.base + at + "/discovery/v2.0/keys"
	if adfs {
		oauth, keys = i.base+at+"/oauth2", i.base+at+"/discovery/keys"
	}
	writeJSON(w, http.StatusOK, map[string]any{
		"issuer":                                i.o.Signer.URL(),
		"authorization_endpoint":                oauth + "/authorize",
		"token_endpoint":                        oauth + "/token",
		"device_authorization_endpoint":         oauth + "/devicecode",
		"jwks_uri":                              keys,
		"response_types_supported":              []string{"code"},
		"response_modes_supported":              []string{"query", "form_post"},
		"grant_types_supported":                 grantNames(),
		"subject_types_supported":               []string{"pairwise"},
		"scopes_supported":                      []string{"openid", "profile", "email", "offline_access"},
		"id_token_signing_alg_values_supported": []string{"RS256"},
		"code_challenge_methods_supported":      []string{"S256"},
		"token_endpoint_auth_methods_supported": []string{"client_secret_post", "private_key_jwt"},
	})
}

func (i *Issuer) keys(w http.ResponseWriter, r *http.Request) {
	if !i.home(r) {
		i.refuse(w, r, fault{http.StatusNotFound, "invalid_tenant", 90002, "no such tenant here"})
		return
	}
	b, err := i.o.Signer.JWKS()
	if err != nil {
		i.refuse(w, r, serverError(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b)
}

// realm tells a client that asks before it sends a password that this authority takes it itself.
func (i *Issuer) realm(w http.ResponseWriter, r *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{
		"ver":                 "1.0",
		"account_type":        "Managed",
		"domain_name":         strings.ToLower(r.PathValue("user")[strings.IndexByte(r.PathValue("user"), '@')+1:]),
		"cloud_instance_name": "gatehouse-development",
		"cloud_audience_urn":  "urn:federation:MicrosoftOnline",
	})
}
