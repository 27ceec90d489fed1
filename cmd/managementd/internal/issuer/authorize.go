package issuer

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"net/http"
	"net/url"
	"regexp"
)

// authorization is what a code stands for: a user's consent for one client, at one address, for one verifier.
type authorization struct {
	client    string
	redirect  string
	challenge string // S256 (RFC 7636 4.2)
	nonce     string
	wanted    wanted
	who       *Account
}

// question is an authorization request that may be answered at its redirect address.
type question struct {
	party     *party
	redirect  string
	state     string
	challenge string
	nonce     string
	post      bool // the answer goes by response_mode=form_post
	wanted    wanted
}

// challengeForm is a SHA-256 in base64url without padding (RFC 7636 4.2).
var challengeForm = regexp.MustCompile(`^[A-Za-z0-9_-]{43}$`)

// question reads an authorization request. If the redirect URI is not registered for the client, it returns a fault
// and no question: the fault is shown on a page, because a redirect would go wherever a stranger wants. If the redirect
// URI is good and something else is wrong, it returns both, and the fault is sent to the redirect URI.
func (i *Issuer) question(q url.Values) (*question, *fault) {
	for name, values := range q {
		if len(values) > 1 {
			return nil, bad("invalid_request", 9002313, "the parameter "+name+" is given more than once")
		}
	}
	p, f := i.party(q.Get("client_id"))
	if f != nil {
		return nil, f
	}
	redirect := q.Get("redirect_uri")
	if !p.returnsTo(redirect) {
		return nil, bad("invalid_request", 50011, "the redirect_uri is none of the addresses that are registered for this application")
	}
	a := &question{
		party:     p,
		redirect:  redirect,
		state:     q.Get("state"),
		challenge: q.Get("code_challenge"),
		nonce:     q.Get("nonce"),
	}
	switch q.Get("response_mode") {
	case "", "query":
	case "form_post":
		a.post = true
	default:
		return a, bad("invalid_request", 9002313,
			"response_mode must be query or form_post: what stands in a fragment, scripts of the page can read")
	}
	switch q.Get("response_type") {
	case "code":
	case "token", "id_token", "id_token token", "code id_token":
		return a, bad("unsupported_response_type", 700054, "the implicit and the hybrid flow are not served: the token would stand "+
			"in the address, where the history, other pages and logs see it; ask for response_type=code with PKCE (RFC 9700 2.1.2)")
	default:
		return a, bad("unsupported_response_type", 900144, "response_type must be code")
	}
	if q.Get("code_challenge_method") != "S256" || !challengeForm.MatchString(a.challenge) {
		return a, bad("invalid_request", 9002325, "the request needs PKCE: code_challenge, and code_challenge_method=S256")
	}
	a.wanted, f = i.want(q.Get("scope"), q.Get("resource"))
	return a, f
}

func (i *Issuer) authorize(w http.ResponseWriter, r *http.Request) {
	q, ok := i.asks(w, r)
	if !ok {
		return
	}
	show(w, http.StatusOK, signInPage, map[string]any{"Client": q.party.id, "Audience": q.wanted.audience})
}

// asks reads the authorization request of the query. false: it has been answered, because it cannot be granted.
func (i *Issuer) asks(w http.ResponseWriter, r *http.Request) (*question, bool) {
	if !i.home(r) {
		showFault(w, &noTenant)
		return nil, false
	}
	q, f := i.question(r.URL.Query())
	switch {
	case f != nil && q == nil:
		showFault(w, f)
		return nil, false
	case f != nil:
		i.send(w, r, q, url.Values{"error": {f.code}, "error_description": {f.text}})
		return nil, false
	}
	return q, true
}

// signIn takes the user's name and password from the page and sends the browser back with a code. No cookie is set:
// every request asks for the password, so that no page can use a sign-in that is still open.
func (i *Issuer) signIn(w http.ResponseWriter, r *http.Request) {
	q, ok := i.asks(w, r)
	if !ok {
		return
	}
	values, f := form(w, r)
	if f != nil {
		showFault(w, f)
		return
	}
	if values.Get("cancel") != "" {
		i.send(w, r, q, url.Values{"error": {"access_denied"}, "error_description": {"the user did not sign in"}})
		return
	}
	who, ok := i.user(values.Get("username"), values.Get("password"))
	if !ok {
		show(w, http.StatusUnauthorized, signInPage, map[string]any{
			"Client": q.party.id, "Audience": q.wanted.audience, "Wrong": "Unknown user or wrong password.",
		})
		return
	}
	code, ok := i.codes.add(authorization{
		client:    q.party.id,
		redirect:  q.redirect,
		challenge: q.challenge,
		nonce:     q.nonce,
		wanted:    q.wanted,
		who:       who,
	})
	if !ok {
		i.send(w, r, q, url.Values{"error": {"temporarily_unavailable"}, "error_description": {"too many sign-ins at once"}})
		return
	}
	i.send(w, r, q, url.Values{"code": {code}})
}

// send answers at the redirect address, which question has proven to be the client's.
func (i *Issuer) send(w http.ResponseWriter, r *http.Request, q *question, values url.Values) {
	if q.state != "" {
		values.Set("state", q.state)
	}
	if q.post {
		show(w, http.StatusOK, postPage, map[string]any{"To": q.redirect, "Values": values})
		return
	}
	u, err := url.Parse(q.redirect)
	if err != nil {
		showFault(w, bad("invalid_request", 50011, "the redirect_uri is no URL"))
		return
	}
	query := u.Query()
	for name := range values {
		query.Set(name, values.Get(name))
	}
	u.RawQuery = query.Encode()
	w.Header().Set("Referrer-Policy", "no-referrer")
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, u.String(), http.StatusFound) //nolint:gosec // returnsTo has compared it with what is registered
}

// byCode redeems a code, once: whoever presents it wrongly has spent it for everybody (RFC 6749 4.1.2).
func (i *Issuer) byCode(r request) (answer, *fault) {
	p, f := i.client(r)
	if f != nil {
		return answer{}, f
	}
	a, known, live := i.codes.take(r.form.Get("code"))
	switch {
	case !known:
		return answer{}, bad("invalid_grant", 54005, "the code is unknown here, or was redeemed already")
	case !live:
		return answer{}, bad("invalid_grant", 70008, "the code is over: it is good for a minute")
	case a.client != p.id:
		return answer{}, bad("invalid_grant", 700005, "the code was given to another client")
	case a.redirect != r.form.Get("redirect_uri"):
		return answer{}, bad("invalid_grant", 50011, "the redirect_uri is not that of the authorization request")
	case !verifies(r.form.Get("code_verifier"), a.challenge):
		return answer{}, bad("invalid_grant", 50148, "the code_verifier does not belong to the code_challenge of the authorization request")
	}
	w := a.wanted
	if scope := r.form.Get("scope"); scope != "" {
		if w, f = i.want(scope, ""); f != nil {
			return answer{}, f
		}
		// What the user saw on the page is what the client gets.
		if w.audience != a.wanted.audience {
			return answer{}, bad("invalid_scope", 70011, "the scope is not for the resource of the authorization request")
		}
		w.openid, w.offline = w.openid || a.wanted.openid, w.offline || a.wanted.offline
	}
	return answer{who: a.who, client: p.id, wanted: w, nonce: a.nonce, user: true}, nil
}

// verifies tells whether the verifier belongs to the challenge (RFC 7636 4.6).
func verifies(verifier, challenge string) bool {
	sum := sha256.Sum256([]byte(verifier))
	mine := base64.RawURLEncoding.EncodeToString(sum[:])
	return len(verifier) >= 43 && len(verifier) <= 128 && subtle.ConstantTimeCompare([]byte(mine), []byte(challenge)) == 1
}
