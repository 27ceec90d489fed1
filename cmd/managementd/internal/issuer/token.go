package issuer

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"

	"github.com/gatehouse/gatehouse/device/credential/jwt"
)

// request is a request to the token endpoint.
type request struct {
	form url.Values
	at   string // the address of the endpoint, which an assertion has to name
}

// grantNames are the grant types, as discovery lists them.
func grantNames() []string {
	return []string{
		"client_credentials", "authorization_code", "refresh_token", "password",
		"urn:ietf:params:oauth:grant-type:device_code", "device_code",
	}
}

func (i *Issuer) grant(r request) (answer, *fault) {
	switch r.form.Get("grant_type") {
	case "client_credentials":
		return i.byClient(r)
	case "authorization_code":
		return i.byCode(r)
	case "refresh_token":
		return i.byRefresh(r)
	case "password":
		return i.byPassword(r)
	case "urn:ietf:params:oauth:grant-type:device_code", "device_code": // msal-node and MSAL-Go say the bare word
		return i.byDevice(r)
	case "":
		return answer{}, bad("invalid_request", 900144, "the request body must contain the parameter grant_type")
	}
	return answer{}, bad("unsupported_grant_type", 70003, "use one of the grant types that discovery lists")
}

// answer is what a successful grant gives.
type answer struct {
	who    *Account
	client string
	wanted wanted
	nonce  string
	// user: a person signed in, and may get an ID token and a refresh token.
	user bool
}

// form reads the body. Unknown fields and every query are ignored (docs/spec/azure-today.md 0).
func form(w http.ResponseWriter, r *http.Request) (url.Values, *fault) {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10) // an assertion may hold a chain of certificates
	if err := r.ParseForm(); err != nil {
		return nil, bad("invalid_request", 9002313, "the body must be application/x-www-form-urlencoded")
	}
	for name, values := range r.PostForm {
		if len(values) > 1 { // RFC 6749 3.2: not more than once; two parties must never read different ones
			return nil, bad("invalid_request", 9002313, "the parameter "+strconv.Quote(name)+" is given more than once")
		}
	}
	return r.PostForm, nil
}

func (i *Issuer) token(w http.ResponseWriter, r *http.Request) {
	if !i.home(r) {
		i.refuse(w, r, noTenant)
		return
	}
	values, f := form(w, r)
	if f != nil {
		i.refuse(w, r, *f)
		return
	}
	a, f := i.grant(request{form: values, at: i.base + r.URL.Path})
	if f != nil {
		i.refuse(w, r, *f)
		return
	}
	body, err := i.compose(a, values.Get("client_info") == "1")
	if err != nil {
		i.refuse(w, r, serverError(err))
		return
	}
	writeJSON(w, http.StatusOK, body)
}

// compose makes the answer's JSON.
func (i *Issuer) compose(a answer, clientInfo bool) (map[string]any, error) {
	signed, err := i.o.Signer.Mint(mintFor(a))
	if err != nil {
		return nil, err
	}
	body := map[string]any{
		"token_type":     "Bearer",
		"expires_in":     seconds(lifetime),
		"ext_expires_in": seconds(lifetime),
		"expires_on":     i.o.Now().Add(lifetime).Unix(),
		"scope":          a.wanted.scope,
		"resource":       a.wanted.audience,
		"access_token":   signed,
	}
	if !a.user {
		return body, nil
	}
	if a.wanted.openid {
		body["id_token"], err = i.o.Signer.MintID(jwt.MintID{
			Client: a.client,
			Nonce:  a.nonce,
			Object: a.who.ObjectID,
			UPN:    a.who.ID,
			Name:   a.who.ID,
			Life:   lifetime,
		})
		if err != nil {
			return nil, err
		}
	}
	if a.wanted.offline {
		if refresh, ok := i.refreshes.add(session{client: a.client, who: a.who, wanted: a.wanted}); ok {
			body["refresh_token"] = refresh
		}
	}
	if clientInfo {
		info, err := json.Marshal(map[string]any{"uid": a.who.ObjectID, "utid": i.o.Tenant})
		if err != nil {
			return nil, err
		}
		body["client_info"] = base64.RawURLEncoding.EncodeToString(info)
	}
	return body, nil
}

func mintFor(a answer) jwt.Mint {
	m := jwt.Mint{
		Kind:     jwt.ServicePrincipal,
		Object:   a.who.ObjectID,
		Audience: a.wanted.audience,
		Name:     a.who.ID,
		Groups:   a.who.Groups,
		Life:     lifetime,
		Version:  a.wanted.version,
		Client:   a.client,
	}
	if a.user {
		m.Kind, m.UPN, m.Guest = jwt.User, a.who.ID, a.who.Guest
	}
	return m
}

// client is the party that asks, proven: a service principal by its secret or assertion. A public client has nothing
// to prove, and is told so if it sends a secret all the same.
func (i *Issuer) client(r request) (*party, *fault) {
	p, f := i.party(r.form.Get("client_id"))
	if f != nil {
		return nil, f
	}
	secret, assertion := r.form.Get("client_secret"), r.form.Get("client_assertion")
	switch {
	case p.account == nil && (secret != "" || assertion != ""):
		return nil, &fault{http.StatusUnauthorized, "invalid_client", 700025,
			"the client is public, so neither client_secret nor client_assertion may be sent"}
	case p.account == nil:
		return p, nil
	case assertion != "" && secret != "":
		return nil, bad("invalid_request", 9002313, "the request proves the client in two ways: send one of client_secret and client_assertion")
	case assertion != "":
		if f := i.asserted(p, r); f != nil {
			return nil, f
		}
		return p, nil
	case secret == "":
		return nil, &fault{http.StatusUnauthorized, "invalid_client", 7000218,
			"the request body must contain the parameter client_assertion or client_secret"}
	case !p.account.secretIs(secret):
		return nil, &fault{http.StatusUnauthorized, "invalid_client", 7000215, "the client secret is not the account's"}
	}
	return p, nil
}

func (i *Issuer) party(id string) (*party, *fault) {
	if id == "" {
		return nil, bad("invalid_request", 900144, "the request must contain the parameter client_id")
	}
	p, ok := i.parties[lower(id)]
	if !ok {
		return nil, bad("unauthorized_client", 700016, "no application with this client id is known here")
	}
	return p, nil
}

func (i *Issuer) byClient(r request) (answer, *fault) {
	p, f := i.client(r)
	if f != nil {
		return answer{}, f
	}
	if p.account == nil {
		return answer{}, bad("unauthorized_client", 700016, "a public client has no token of its own")
	}
	w, f := i.want(r.form.Get("scope"), r.form.Get("resource"))
	if f != nil {
		return answer{}, f
	}
	if w.delegated {
		return answer{}, bad("invalid_scope", 1002012, "an application asks for a resource's /.default, and not for a permission")
	}
	return answer{who: p.account, client: p.id, wanted: w}, nil
}

func (i *Issuer) byPassword(r request) (answer, *fault) {
	p, f := i.client(r)
	if f != nil {
		return answer{}, f
	}
	w, f := i.want(r.form.Get("scope"), r.form.Get("resource"))
	if f != nil {
		return answer{}, f
	}
	who, ok := i.user(r.form.Get("username"), r.form.Get("password"))
	if !ok {
		return answer{}, bad("invalid_grant", 50126, "unknown user or wrong password")
	}
	return answer{who: who, client: p.id, wanted: w, user: true}, nil
}

// session is what a refresh token continues: it serves the client that it was given to, and nobody else (RFC 6749 6).
type session struct {
	client string
	who    *Account
	wanted wanted
}

// byRefresh gives a token for any resource to the user's client. The old refresh token stays good until its own end,
// as at Entra: two programs of one user may hold the same.
func (i *Issuer) byRefresh(r request) (answer, *fault) {
	p, f := i.client(r)
	if f != nil {
		return answer{}, f
	}
	s, known, live := i.refreshes.get(r.form.Get("refresh_token"))
	switch {
	case !known || s.client != p.id:
		return answer{}, bad("invalid_grant", 9002313, "the refresh token is unknown here, or was given to another client: sign in again")
	case !live:
		return answer{}, bad("invalid_grant", 700082, "the refresh token is over: sign in again")
	}
	w := s.wanted
	if scope, resource := r.form.Get("scope"), r.form.Get("resource"); scope != "" || resource != "" {
		if w, f = i.want(scope, resource); f != nil {
			return answer{}, f
		}
	}
	w.offline = true
	return answer{who: s.who, client: p.id, wanted: w, user: true}, nil
}
