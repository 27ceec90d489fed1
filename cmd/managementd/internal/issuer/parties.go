package issuer

import (
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is a SHA-1 by its definition (RFC 7515 4.1.7): it only finds the certificate
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"

	"github.com/go-jose/go-jose/v4"

	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// Account is a service principal or a user that may ask for tokens.
type Account struct {
	// The client id of a service principal, or the upn of a user.
	ID string `yaml:"id" required:"yes" example:"gateway-1"`
	// The secret, or the user's password: for development only. A service principal with a certificate or a federated
	// credential needs none.
	Secret string `yaml:"secret" example:"not-for-production"`
	// The Entra object id that role assignments name.
	ObjectID space.ID `yaml:"objectId" required:"yes" example:"0fc863aa-eb51-4704-a312-7d635d70e000"`
	// On: it gets the delegated token of a member; off: an application token.
	User bool `yaml:"user"`
	// On: the user is a guest of the tenant.
	Guest bool `yaml:"guest"`
	// The groups that the token names.
	Groups []space.ID `yaml:"groups"`
	// PEM files with certificates (RSA), by whose keys a service principal may sign its client assertions.
	Certificates []config.File `yaml:"certificates"`
	// Tokens of other issuers that a service principal may present instead of a secret (workload identity).
	Federated []Federated `yaml:"federated"`
	// Where users may be sent back to who sign in to this service principal; as for a client.
	Redirects []string `yaml:"redirects" example:"[https://dashboard.harbour.example/signed-in]"`
}

// Federated is a federated credential: a token of another issuer that proves a service principal. Its audience is
// always api://AzureADTokenExchange.
type Federated struct {
	// The iss of the token.
	Issuer string `yaml:"issuer" required:"yes" example:"https://kubernetes.default.svc"`
	// The sub of the token.
	Subject string `yaml:"subject" required:"yes" example:"system:serviceaccount:building:gateway"`
	// A file with the issuer's key set (JWKS).
	Keys config.File `yaml:"keys" required:"yes" example:"/etc/gatehouse/cluster-keys.json"`
}

// Client is a public client (RFC 6749 2.1): a program on people's machines, which can keep no secret.
type Client struct {
	// The application id.
	ID string `yaml:"id" required:"yes" example:"9f0e0d6a-5c0e-4001-8000-7a1d0f8e5b0c"`
	// Where users may be sent back to, exact text. The port of an http address on loopback is free (RFC 8252 7.3).
	Redirects []string `yaml:"redirects" example:"[http://localhost]"`
}

// AzureCLI is the public client that az and azidentity sign in as; it is always known.
const AzureCLI = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"

// party is who asks for tokens: a public client, or a service principal.
type party struct {
	id           string
	account      *Account // nil: a public client
	certificates []*x509.Certificate
	federated    []federated
	redirects    []string
}

type federated struct {
	issuer, subject string
	keys            jose.JSONWebKeySet
}

func parties(o Options) (map[string]*party, error) {
	out := map[string]*party{}
	clients := append([]Client{{ID: AzureCLI, Redirects: []string{"http://localhost", "http://localhost/"}}}, o.Clients...)
	for _, c := range clients {
		out[strings.ToLower(c.ID)] = &party{id: c.ID, redirects: c.Redirects}
	}
	for n := range o.Accounts {
		a := &o.Accounts[n]
		if a.User {
			continue
		}
		p := &party{id: a.ID, account: a, redirects: a.Redirects}
		for _, file := range a.Certificates {
			c, err := readCertificate(string(file))
			if err != nil {
				return nil, fmt.Errorf("account %s: %w", a.ID, err)
			}
			p.certificates = append(p.certificates, c)
		}
		for _, f := range a.Federated {
			known := federated{issuer: f.Issuer, subject: f.Subject}
			b, err := os.ReadFile(string(f.Keys))
			if err == nil {
				err = json.Unmarshal(b, &known.keys)
			}
			if err != nil {
				return nil, fmt.Errorf("account %s: federated.keys: %w", a.ID, err)
			}
			p.federated = append(p.federated, known)
		}
		out[strings.ToLower(a.ID)] = p
	}
	return out, nil
}

// Readable tells whether the files that the accounts name can be read.
func Readable(accounts []Account) error {
	_, err := parties(Options{Accounts: accounts})
	return err
}

func readCertificate(file string) (*x509.Certificate, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue // the key may stand in the same file, as az wants it
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		if _, ok := c.PublicKey.(*rsa.PublicKey); !ok {
			return nil, fmt.Errorf("%s: the key is not RSA, and no client signs assertions with another", file)
		}
		return c, nil
	}
	return nil, fmt.Errorf("%s: %w", file, errors.New("no PEM certificate"))
}

// secretIs compares in constant time. No secret is right for an account without one.
func (a *Account) secretIs(secret string) bool {
	return a.Secret != "" && subtle.ConstantTimeCompare([]byte(a.Secret), []byte(secret)) == 1
}

// user is the account of a person who proves it by the password.
func (i *Issuer) user(upn, password string) (*Account, bool) {
	for n := range i.o.Accounts {
		if a := &i.o.Accounts[n]; a.User && strings.EqualFold(a.ID, upn) && a.secretIs(password) {
			return a, true
		}
	}
	return nil, false
}

// returnsTo tells whether users may be sent back to this address: it is registered, exact text, but for the port of
// a loopback address.
func (p *party) returnsTo(address string) bool {
	for _, r := range p.redirects {
		if r == address || loopbackForm(r) != "" && loopbackForm(r) == loopbackForm(address) {
			return true
		}
	}
	return false
}

// loopbackForm is an http address on loopback without its port, and "" for every other. All else of the address stays
// in it, so that user information or a fragment makes it another.
func loopbackForm(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" {
		return ""
	}
	host := u.Hostname()
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return ""
	}
	u.Host = host
	return u.String()
}

// thumbprints of a certificate, as x5t and x5t#S256 name it.
func thumbprints(c *x509.Certificate) (sha1sum [20]byte, sha256sum [32]byte) {
	return sha1.Sum(c.Raw), sha256.Sum256(c.Raw) //nolint:gosec // see the import
}
