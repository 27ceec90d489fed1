package config

import (
	"time"

	"github.com/gatehouse/gatehouse/device/space"
)

// Identity says whose credentials are believed (docs/spec/semantics.md 1).
type Identity struct {
	Tenants   []Tenant  `yaml:"tenants"`
	Audiences Audiences `yaml:"audiences"`
	// Scope is what scp of a delegated token must hold.
	Scope string `yaml:"scope"`
	JWKS  JWKS   `yaml:"jwks"`
	SAS   SAS    `yaml:"sas"`
	X509  X509   `yaml:"x509"`
}

// Tenant is an allow-listed tenant. Issuers are accepted besides the two
// exact Entra issuers of the tenant; VerifiedDomains are those for which a
// upn may match a DomainName assignment.
type Tenant struct {
	ID              space.ID `yaml:"id"`
	Issuers         []string `yaml:"issuers"`
	VerifiedDomains []string `yaml:"verifiedDomains"`
}

// Audiences lists the accepted aud for each surface.
type Audiences struct {
	MQTT         []string `yaml:"mqtt"`
	DeviceUpdate []string `yaml:"deviceUpdate"`
}

// JWKS is the key set with which tokens are verified. It comes from a file, or
// from a URL that is fetched now and then and kept for the time without a cloud.
type JWKS struct {
	File File   `yaml:"file"`
	URL  string `yaml:"url"`
	CA   File   `yaml:"ca"` // of URL; empty: the system's authorities
}

// SAS bounds device tokens: MaxLife is the longest accepted time until se.
type SAS struct {
	MaxLife time.Duration `yaml:"maxLife"`
}

// X509 holds the settings for client certificates.
type X509 struct {
	AllowSHA1 bool `yaml:"allowSHA1"`
}

// Cloud is where policy and topology come from.
type Cloud struct {
	Management Management `yaml:"management"`
	Poll       Poll       `yaml:"poll"`
}

// Management is the management API. An empty URL means that there is none:
// the gateway lives from its cache alone.
type Management struct {
	URL        string     `yaml:"url"`
	CA         File       `yaml:"ca"` // empty: the system's authorities
	Credential Credential `yaml:"credential"`
}

// The kinds of a Credential.
const (
	CredentialTokenFile    = "token-file"
	CredentialClientSecret = "client-secret"
)

// Credential is the gateway's own cloud identity. Which fields are needed
// depends on Kind; the others must be absent.
type Credential struct {
	Kind      string     `yaml:"kind"`
	TokenFile SecretFile `yaml:"tokenFile"`
	// TenantID is the Entra tenant that issues the token; TokenURL, where it
	// is given, is asked instead.
	TenantID     space.ID   `yaml:"tenantId"`
	TokenURL     string     `yaml:"tokenUrl"`
	ClientID     string     `yaml:"clientId"`
	ClientSecret SecretFile `yaml:"clientSecret"`
	Scope        string     `yaml:"scope"`
}

// Poll is the rhythm of the sync: Wait is the longest long poll of the change
// feed, Full the distance between two full reads, with a feed or without.
type Poll struct {
	Wait time.Duration `yaml:"wait"`
	Full time.Duration `yaml:"full"`
}

// The values of DeviceUpdate.Records.
const (
	RecordsRequired = "required"
	RecordsOff      = "off"
)

// DeviceUpdate configures the deployment guard (docs/spec/semantics.md 5).
type DeviceUpdate struct {
	Records string `yaml:"records"`
	// TrustTestKeys accepts the public test root keys. Never in production.
	TrustTestKeys bool `yaml:"trustTestKeys"`
	// RootKeyPackage is the newest root key package: it names keys that are no
	// longer trusted. The highest version ever seen stays in force.
	RootKeyPackage File `yaml:"rootKeyPackage"`
	// TrustedRoots is a JWK Set of further update roots, for development.
	TrustedRoots File          `yaml:"trustedRoots"`
	AllowedHosts []string      `yaml:"allowedHosts"`
	StuckAfter   time.Duration `yaml:"stuckAfter"`
	// Endpoint is the Device Update account to which authorised requests of the
	// REST API are sent, with the caller's own token; CA its authority (empty: the system's).
	Endpoint string `yaml:"endpoint"`
	CA       File   `yaml:"ca"`
	// Silent suppresses the refusal reported upstream.
	Silent bool `yaml:"silent"`
}
