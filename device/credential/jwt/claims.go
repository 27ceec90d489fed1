package jwt

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse/gatehouse/device/space"
)

// Kind is the kind of principal that a token proves.
type Kind uint8

// The kinds. The zero Kind is no principal.
const (
	NoPrincipal Kind = iota
	User
	ServicePrincipal
)

// Claims is what a verified token says.
type Claims struct {
	Kind   Kind
	Tenant space.ID // tid
	Object space.ID // oid
	// Member: of the tenant, not a guest in it. Only users are members.
	Member bool
	// Domain is "@example.com" of a member whose domain is verified for the
	// tenant, else "".
	Domain string
	// Groups are known only when the token lists them all.
	Groups      []space.ID
	GroupsKnown bool
	// Expires is when the token stops being accepted, leeway included.
	Expires time.Time
	KeyID   string
	// Name is for people and decides nothing.
	Name string
}

// payload is a token's payload. Its decoder (go-jose's) compares member names with their
// case and refuses duplicates.
type payload struct {
	Issuer    string               `json:"iss"`
	Audience  josejwt.Audience     `json:"aud"`
	Expires   *josejwt.NumericDate `json:"exp"`
	NotBefore *josejwt.NumericDate `json:"nbf"`
	TenantID  string               `json:"tid"`
	ObjectID  string               `json:"oid"`
	Subject   string               `json:"sub"`
	Scopes    *string              `json:"scp"`
	IDType    *string              `json:"idtyp"`
	UPN       string               `json:"upn"`
	IDP       string               `json:"idp"`
	Acct      any                  `json:"acct"`
	Groups    *[]string            `json:"groups"`
	HasGroups any                  `json:"hasgroups"`
	Elsewhere map[string]any       `json:"_claim_names"`
	Label     any                  `json:"name"`
	AppLabel  any                  `json:"app_displayname"`
}

func (v *Verifier) claims(w *payload, tid space.ID, t tenant) (*Claims, error) {
	oid, err := space.ParseID(w.ObjectID)
	if err != nil || oid.IsZero() {
		return nil, fmt.Errorf("%w: oid", ErrMalformed)
	}
	c := &Claims{Tenant: tid, Object: oid}
	idtyp := ""
	if w.IDType != nil {
		idtyp = *w.IDType
	}
	switch {
	case w.Scopes != nil && (idtyp == "" || idtyp == "user"):
		if !slices.Contains(strings.Fields(*w.Scopes), v.o.Scope) {
			return nil, ErrScope
		}
		c.Kind = User
	case w.Scopes == nil && (idtyp == "app" || w.IDType == nil && w.ObjectID == w.Subject):
		c.Kind = ServicePrincipal
	default:
		return nil, ErrKind
	}
	if c.Kind == User && !guest(w, t) {
		c.Member = true
		c.Domain = domain(w.UPN, t.domains)
	}
	c.Groups, c.GroupsKnown = groups(w)
	c.Name = label(w, c)
	return c, nil
}

// guest tells whether the user is, or could be, a guest in the tenant: one claim that
// says so, or that cannot be read, is enough.
func guest(w *payload, t tenant) bool {
	switch a := w.Acct.(type) {
	case nil:
	case float64:
		if a != 0 {
			return true
		}
	case json.Number:
		if a.String() != "0" {
			return true
		}
	default:
		return true
	}
	return strings.Contains(strings.ToUpper(w.UPN), "#EXT#") ||
		w.IDP != "" && !slices.Contains(t.issuers, w.IDP)
}

// domain returns the domain of a UPN ("@example.com"), or "" if it is not verified for
// the tenant.
func domain(upn string, verified []string) string {
	name, d, ok := strings.Cut(upn, "@")
	if !ok || name == "" {
		return ""
	}
	// Lower-casing only ASCII: the Kelvin sign is not a k.
	b := []byte(d)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	if d = string(b); d == "" || !slices.Contains(verified, d) {
		return ""
	}
	return "@" + d
}

// groups returns the token's groups; false if they are not known: there is no such
// claim, the token says that it does not list all of them (overage), or an entry is no
// object id (an application can be set to emit names).
func groups(w *payload) ([]space.ID, bool) {
	if w.Groups == nil || w.HasGroups != nil {
		return nil, false
	}
	if _, elsewhere := w.Elsewhere["groups"]; elsewhere {
		return nil, false
	}
	ids := make([]space.ID, 0, len(*w.Groups))
	for _, g := range *w.Groups {
		id, err := space.ParseID(g)
		if err != nil || id.IsZero() {
			return nil, false
		}
		ids = append(ids, id)
	}
	return ids, true
}

func label(w *payload, c *Claims) string {
	name := w.UPN
	for _, alt := range []any{w.Label, w.AppLabel} {
		if s, ok := alt.(string); ok && name == "" {
			name = s
		}
	}
	if name == "" || len(name) > 128 || strings.ContainsFunc(name, unicode.IsControl) {
		return c.Object.String()
	}
	return name
}
