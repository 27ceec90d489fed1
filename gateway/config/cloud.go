package config

import (
	"time"

	"github.com/gatehouse/gatehouse/device/space"
)

// Identity says which credentials are accepted (docs/spec/semantics.md 1).
type Identity struct {
	// The tenants whose bearer tokens are accepted; none: no token is.
	Tenants []Tenant `yaml:"tenants"`
	// The aud that a token must carry, by where it is shown.
	Audiences Audiences `yaml:"audiences"`
	// What the scp of a delegated (user) token must hold.
	Scope string `yaml:"scope"`
	// The keys with which tokens are verified: a file, or a URL that is fetched from time to time; the keys are
	// kept for times without a cloud. Needed with tenants.
	JWKS JWKS `yaml:"jwks"`
	// Device tokens.
	SAS SAS `yaml:"sas"`
	// Client certificates.
	X509 X509 `yaml:"x509"`
}

// Tenant is an allow-listed tenant.
type Tenant struct {
	// The tenant's GUID.
	ID space.ID `yaml:"id" required:"yes" example:"7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001"`
	// Issuers that are accepted besides the two exact Entra issuers of the tenant.
	Issuers []string `yaml:"issuers"`
	// Domains for which a upn may match a DomainName assignment.
	VerifiedDomains []string `yaml:"verifiedDomains" example:"[contoso.com]"`
}

// Audiences lists the accepted aud for each surface.
type Audiences struct {
	// Over MQTT; needed with tenants.
	MQTT []string `yaml:"mqtt" example:"[api://gatehouse]"`
	// At the REST listener (api).
	DeviceUpdate []string `yaml:"deviceUpdate"`
}

// JWKS is the key set with which tokens are verified.
type JWKS struct {
	// A JSON Web Key Set; read again on reload.
	File File `yaml:"file" example:"/etc/gatehouse/jwks.json"`
	// Where the set is fetched, instead of a file.
	URL string `yaml:"url" example:"https://login.microsoftonline.com/common/discovery/v2.0/keys"`
	// PEM file with the authority of url; empty: the system's authorities.
	CA File `yaml:"ca"`
}

// SAS bounds device tokens.
type SAS struct {
	// The longest accepted time until a token's expiry (se); at least 1m.
	MaxLife time.Duration `yaml:"maxLife"`
}

// X509 holds the settings for client certificates.
type X509 struct {
	// On: a client certificate is accepted although only its SHA-1 thumbprint is registered; health warns.
	AllowSHA1 bool `yaml:"allowSHA1"`
	// On: a device's certificate of a registered authority is accepted without the extended key usage
	// extension. One that has the extension lists client authentication there in any case.
	AllowMissingEKU bool `yaml:"allowMissingEKU"`
}

// Cloud is where policy and topology come from.
type Cloud struct {
	// The management API.
	Management Management `yaml:"management"`
	// How often the gateway asks the management API.
	Poll Poll `yaml:"poll"`
}

// Management is the management API.
type Management struct {
	// Its base address; empty: there is none, and the gateway lives from its cache.
	URL string `yaml:"url" example:"https://instance.westeurope.azuresmartspaces.net/management/api/v1.0"`
	// PEM file with its authority; empty: the system's authorities.
	CA File `yaml:"ca"`
	// The gateway's own cloud identity.
	Credential Credential `yaml:"credential"`
}

// The kinds of a Credential.
const (
	CredentialTokenFile         = "token-file"
	CredentialClientSecret      = "client-secret"
	CredentialClientCertificate = "client-certificate"
	CredentialManagedIdentity   = "managed-identity"
	CredentialWorkloadIdentity  = "workload-identity"
	CredentialDeviceCode        = "device-code"
	CredentialDeviceSAS         = "device-sas"
)

// Credential is the gateway's own cloud identity. Which fields are needed
// depends on Kind; the others must be absent.
type Credential struct {
	// managed-identity and workload-identity hold no secret of their own. device-code is for a technician: the log says
	// which code to enter, and a restart asks again. Which keys each kind takes stands at the keys. Needed with a url.
	Kind string `yaml:"kind" choices:",token-file,client-secret,client-certificate,managed-identity,workload-identity,device-code,device-sas"`
	// token-file: a file with a token that something else renews; read for every request.
	TokenFile SecretFile `yaml:"tokenFile" example:"${CREDENTIALS_DIRECTORY}/secret_cloud-token"`
	// All kinds but managed-identity, device-sas and token-file: the Entra tenant. client-secret may have tokenUrl instead.
	TenantID space.ID `yaml:"tenantId"`
	// client-secret: another token endpoint, instead of the tenant's.
	TokenURL string `yaml:"tokenUrl"`
	// The kinds with a tenant: an authority other than Entra's public cloud. It is not looked up at Microsoft.
	Authority string `yaml:"authority" example:"https://login.microsoftonline.us"`
	// The kinds with a tenant: the application id. managed-identity: that of a user-assigned identity.
	ClientID string `yaml:"clientId"`
	// managed-identity: the object id of the identity, instead of clientId.
	ObjectID string `yaml:"objectId"`
	// managed-identity: the ARM id of a user-assigned identity, instead of clientId. None of the three: the machine's own.
	ResourceID string `yaml:"resourceId"`
	// client-secret: a file with the secret; read for every request.
	ClientSecret SecretFile `yaml:"clientSecret" example:"${CREDENTIALS_DIRECTORY}/secret_client-secret"`
	// client-certificate: PEM file with the certificate; read again when the cloud refuses a token.
	Certificate File `yaml:"certificate" example:"/etc/gatehouse/cloud.crt"`
	// client-certificate: PEM file with its RSA key.
	Key SecretFile `yaml:"key" example:"${CREDENTIALS_DIRECTORY}/secret_cloud.key"`
	// workload-identity: a file with a token of the cluster, which the application's federated credential names.
	FederatedTokenFile File `yaml:"federatedTokenFile" example:"/var/run/secrets/azure/tokens/azure-identity-token"`
	// device-sas: the hardware id of the device as which the gateway asks the management API.
	HardwareID string `yaml:"hardwareId" example:"gateway-1"`
	// device-sas: a file with a key of the key store that serves the device's space, in base64; read for every token.
	SASKey SecretFile `yaml:"sasKey" example:"${CREDENTIALS_DIRECTORY}/secret_device-key"`
	// device-sas: the number of that key.
	KeyVersion int `yaml:"keyVersion" unit:"number" example:"1"`
	// All kinds but device-sas and token-file: what the token is for.
	Scope string `yaml:"scope" example:"0b07f429-9f4b-4714-9392-cc5e8e80c8b0/.default"`
}

// Poll is the rhythm of the sync.
type Poll struct {
	// The longest long poll of the change feed, 1s to 5m.
	Wait time.Duration `yaml:"wait"`
	// The distance between two full reads, with a feed or without; at least 10s.
	Full time.Duration `yaml:"full"`
}

// The values of DeviceUpdate.Records.
const (
	RecordsRequired = "required"
	RecordsOff      = "off"
)

// DeviceUpdate configures the deployment guard (docs/spec/semantics.md 5).
type DeviceUpdate struct {
	// required: a deployment from upstream needs a live deployment record. No part of this release is a
	// source of such records, so that required is refused.
	Records string `yaml:"records" choices:"off,required"`
	// On: the public test root keys are accepted. Never in production.
	TrustTestKeys bool `yaml:"trustTestKeys"`
	// The newest root key package: it names keys that are no longer trusted. The highest version ever seen stays in force.
	RootKeyPackage File `yaml:"rootKeyPackage"`
	// A JWK Set of further update roots, for development.
	TrustedRoots File `yaml:"trustedRoots"`
	// Hosts to which unsigned URLs of a deployment may lead; *.domain is every host below a domain.
	AllowedHosts []string `yaml:"allowedHosts"`
	// A deployment without a report for this long may be retried.
	StuckAfter time.Duration `yaml:"stuckAfter"`
	// The Device Update account to which authorised requests of the REST listener (api) are sent, with the caller's own token.
	Endpoint string `yaml:"endpoint" example:"https://{account}.api.adu.microsoft.com"`
	// PEM file with the endpoint's authority; empty: the system's authorities.
	CA File `yaml:"ca"`
	// On: a refusal is not reported upstream.
	Silent bool `yaml:"silent"`
}
