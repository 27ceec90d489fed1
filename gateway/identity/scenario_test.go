package identity_test

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse/gatehouse/authz/authztest/scenario"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// door is a registry with certificates, and who comes to the door, in order.
// In every text {hub} is the hub's host, {home} and {other} are tenants, {ann} is
// an object, {fn} the function.
type door struct {
	scenario.Head `yaml:",inline"`
	World         struct {
		Devices      []record
		Authorities  []authority
		Certificates []certificate
		AllowSHA1    bool     `yaml:"allow_sha1"`
		MissingEKU   bool     `yaml:"missing_eku"`
		Served       []string // DNS names of the certificate that the listener serves, whose address is 192.0.2.7
		Audiences    []string // of this surface; "gatehouse" if none
		Scope        string
		Issuers      []string // besides Entra's, of the home tenant
		Problems     []string // reasons of the records that are not used
	}
	Then []visit
}

type record struct {
	ID, Auth, At, Status, Hardware, Certificate string
	Modules                                     []record
}

type authority struct {
	Name, At string
	Revoked  []string // certificates
}

type certificate struct {
	Name, By string // by nobody: self-signed
	CN       []string
	SAN      []string
	Use      string // client if empty; server, none
	Life     time.Duration
	Via      int // authorities between
}

type visit struct {
	// A change of the world.
	Status, Certificate []string // device and what it has from now on
	Remove, Roll        string
	Create              []string // SAS devices
	Pass                time.Duration
	Revoke              string // certificate
	NoKeys              bool   `yaml:"no_keys"`
	// Owners of the certificates that health names as shared.
	Shared []string

	// Who comes.
	Client      string
	User        *string
	SAS         *signature
	Show        string            // a certificate
	Token       map[string]string // claims that differ from Ann's own; "-" leaves one out
	Sign        string            // of a token: by whom; "" the tenant's key, stranger, foreign, none, hs256, no-kid
	Password    *string
	UID         *int
	Method      string // how the secret is sent: the password if empty
	As          string // remembers the principal
	Live        string // asks about one that was remembered
	Proves      string
	Matches     []string
	Refused     string
	Code        byte
	Still       bool
	GroupsKnown *bool `yaml:"groups_known"`
}

// signature is a shared access signature: for a device, module (d/m) or
// function, by the key of one.
type signature struct {
	For, Key string
	Hub      string
	Life     time.Duration
	More     string // appended to the token
}

const host = "demo-hub.azure-devices.net"

var (
	now    = time.Unix(1_800_000_000, 0)
	home   = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001")
	other  = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1002")
	ann    = space.MustID("3cdfde07-bc16-40d9-bed3-66d49a8f52ae")
	fn     = space.MustID("dfaac54c-f583-4dd2-b45d-8d4bbc0aa1ac")
	filled = strings.NewReplacer("{hub}", host, "{home}", home.String(), "{other}", other.String(), "{ann}", ann.String(), "{fn}", fn.String())
	// The tenant's key, another tenant's (published too), and nobody's.
	signers = sync.OnceValue(func() map[string]*rsa.PrivateKey {
		return map[string]*rsa.PrivateKey{"": must(jwt.NewKey()), "foreign": must(jwt.NewKey()), "stranger": must(jwt.NewKey())}
	})
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestScenarios(t *testing.T) {
	scenario.Run(t, func(t *testing.T, d door) {
		if len(d.Then) == 0 {
			t.Error("nobody comes")
		}
		h := build(t, &d)
		for i := range d.Then {
			h.visit(t, &d.Then[i], fmt.Sprintf("visit %d", i+1))
		}
	})
}

func (h *scene) change(t *testing.T, v *visit) {
	at := func(id string) *device.Device {
		i := slices.IndexFunc(h.data.Devices, func(d device.Device) bool { return d.HubID == id })
		if i < 0 {
			t.Fatalf("no device %q", id)
		}
		return &h.data.Devices[i]
	}
	switch {
	case len(v.Status) == 2:
		at(v.Status[0]).Status = statusOf(t, v.Status[1])
	case len(v.Certificate) == 2:
		at(v.Certificate[0]).Auth = h.authOf(t, record{Auth: "self-signed", Certificate: v.Certificate[1]})
	case v.Remove != "":
		h.data.Devices = slices.DeleteFunc(h.data.Devices, func(d device.Device) bool { return d.HubID == v.Remove })
	case v.Roll != "":
		at(v.Roll).Auth = h.authOf(t, record{Auth: "sas", ID: v.Roll + " rolled"})
	case v.Revoke != "":
		cas := slices.Clone(h.data.CAs)
		cas[0].CRL = h.revoke("root", v.Revoke)
		h.data.CAs = cas
	case v.Shared != nil:
		owners := []string{}
		for _, s := range h.auth.SharedCertificates() {
			owners = append(owners, s.Owner)
		}
		if !slices.Equal(owners, v.Shared) {
			t.Errorf("shared certificates of %q, want %q", owners, v.Shared)
		}
		return
	case len(v.Create) > 0:
		for i, id := range v.Create {
			h.data.Devices = append(h.data.Devices, device.Device{
				ID:     space.ID{11, 15: byte(i + 1)},
				HubID:  id,
				Status: device.Active,
				Auth:   h.authOf(t, record{Auth: "sas", ID: id}),
			})
		}
	case v.NoKeys:
		h.keys = jwt.Keys{}
	case v.Pass > 0:
		h.now = h.now.Add(v.Pass)
	default:
		t.Fatal("nobody comes, and nothing changes")
	}
	h.rebuild()
}

func (h *scene) visit(t *testing.T, v *visit, label string) {
	t.Helper()
	if v.Live != "" {
		p := h.known[v.Live]
		if p == nil {
			t.Fatalf("%s: nobody was remembered as %q", label, v.Live)
		}
		switch r := h.auth.Still(p); {
		case v.Still && r != nil:
			t.Errorf("%s: %s may not stay: %v", label, v.Live, r)
		case !v.Still && (r == nil || r.Reason != v.Refused):
			t.Errorf("%s: %s: %v, want %s", label, v.Live, r, v.Refused)
		}
		return
	}
	if v.Proves == "" && v.Refused == "" {
		h.change(t, v)
		return
	}
	p, err := h.auth.Authenticate(context.Background(), h.credentials(t, v))
	var r *principal.Refusal
	switch {
	case errors.As(err, &r):
		code := v.Code
		if code == 0 {
			code = 0x86
		}
		if r.Reason != v.Refused || r.Code != code {
			t.Errorf("%s: refused 0x%02x %v, want 0x%02x %q, or %q", label, r.Code, r, code, v.Refused, v.Proves)
		}
		return
	case err != nil:
		t.Fatal(err)
	}
	if p.Key != filled.Replace(v.Proves) {
		t.Errorf("%s: proves %q, want %q, or refused %q", label, p.Key, v.Proves, v.Refused)
	}
	if v.Matches != nil {
		var got []string
		for _, i := range p.Subject.Identities {
			got = append(got, i.String())
		}
		want := slices.Clone(v.Matches)
		for i := range want {
			want[i] = filled.Replace(want[i])
			if id, ok := strings.CutPrefix(want[i], "device "); ok {
				n := slices.IndexFunc(h.data.Devices, func(d device.Device) bool { return d.HubID == id })
				want[i] = model.Identity{Kind: model.DeviceID, Object: h.data.Devices[n].ID}.String()
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: matches %q, want %q", label, got, want)
		}
	}
	if v.GroupsKnown != nil && p.Subject.GroupsKnown != *v.GroupsKnown {
		t.Errorf("%s: groups known: %v", label, p.Subject.GroupsKnown)
	}
	if v.As != "" {
		h.known[v.As] = p
	}
}

func (h *scene) credentials(t *testing.T, v *visit) *principal.Credentials {
	c := &principal.Credentials{
		Listener: "mqtts",
		Remote:   netip.MustParseAddrPort("192.0.2.1:1"),
		PeerUID:  -1,
		Version:  5,
		ClientID: v.Client,
	}
	if v.User != nil {
		c.HasUser, c.Username = true, filled.Replace(*v.User)
	}
	var secrets []string
	if v.SAS != nil {
		secrets = append(secrets, h.sign(v.SAS))
	}
	if v.Token != nil {
		secrets = append(secrets, h.token(t, v))
	}
	if v.Password != nil {
		secrets = append(secrets, *v.Password)
	}
	for _, s := range secrets {
		if v.Method != "" {
			c.AuthMethod, c.AuthData = v.Method, []byte(s)
		} else {
			c.HasPass, c.Password = true, []byte(s)
		}
	}
	if v.Show != "" {
		c.TLS = &tls.ConnectionState{}
		h.leaf(t, v.Show)
		for _, p := range h.certs[v.Show] {
			c.TLS.PeerCertificates = append(c.TLS.PeerCertificates, p.Cert)
		}
	}
	if v.UID != nil {
		c.Listener, c.PeerUID, c.Remote = "local", *v.UID, netip.AddrPort{}
	}
	return c
}

func (h *scene) sign(s *signature) string {
	at, life := s.Hub, s.Life
	if at == "" {
		at = host
	}
	if life == 0 {
		life = time.Hour
	}
	var r sas.Resource
	if id, ok := strings.CutPrefix(s.For, "functions/"); ok {
		r = sas.Function(at, filled.Replace(id))
	} else if d, m, ok := strings.Cut(s.For, "/"); ok {
		r = sas.Module(at, d, m)
	} else {
		r = sas.Device(at, s.For)
	}
	return sas.Issue(r, keyOf(s.Key), h.now.Add(life)) + s.More
}

// token is Ann's access token, but for the claims that differ.
func (h *scene) token(t *testing.T, v *visit) string {
	t.Helper()
	claims := map[string]any{
		"iss": "https://login.microsoftonline.com/" + home.String() + "/v2.0", "tid": home.String(), "oid": ann.String(), "sub": "pairwise",
		"aud": "gatehouse", "scp": "user_impersonation", "ver": "2.0", "acct": 0, "upn": "ann@example.com",
		"nbf": h.now.Add(-time.Minute).Unix(), "exp": h.now.Add(time.Hour).Unix(),
	}
	for name, text := range v.Token {
		text = filled.Replace(text)
		switch {
		case text == "-":
			delete(claims, name)
		case name == "exp" || name == "nbf":
			claims[name] = h.now.Add(must(time.ParseDuration(text))).Unix()
		case name == "groups" || name == "acct" || strings.HasPrefix(name, "_") || name == "hasgroups":
			var raw any
			if err := json.Unmarshal([]byte(text), &raw); err != nil {
				t.Fatal(err)
			}
			claims[name] = raw
		default:
			claims[name] = text
		}
	}
	kid, key := "kid-", signers()[""]
	signing := jose.SigningKey{Algorithm: jose.RS256}
	switch v.Sign {
	case "", "no-kid":
	case "none":
		head := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","kid":"kid-","typ":"JWT"}`))
		return head + "." + base64.RawURLEncoding.EncodeToString(must(json.Marshal(claims))) + "."
	case "hs256": // the public key as a shared secret
		signing.Algorithm = jose.HS256
		signing.Key = jose.JSONWebKey{Key: must((&jose.JSONWebKey{Key: key.Public()}).Thumbprint(crypto.SHA256)), KeyID: kid}
	case "foreign":
		kid, key = "kid-foreign", signers()["foreign"]
	case "stranger":
		key = signers()["stranger"]
	default:
		t.Fatalf("sign %q", v.Sign)
	}
	if v.Sign == "no-kid" {
		kid = ""
	}
	if signing.Key == nil {
		signing.Key = jose.JSONWebKey{Key: key, KeyID: kid}
	}
	return must(josejwt.Signed(must(jose.NewSigner(signing, (&jose.SignerOptions{}).WithType("JWT")))).Claims(claims).Serialize())
}
