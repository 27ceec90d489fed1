package main

import (
	"net"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/managementd/internal/issuer"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// settings is managementd.yaml. The comment of a field is the text of its
// setting, as in gateway/config.Config.
type settings struct {
	// HOST:PORT of the HTTPS API (/management/api/v1.0).
	Listen string `yaml:"listen"`
	// The API's certificate.
	TLS tlsSettings `yaml:"tls"`
	// The directory of the store: roles, assignments, topology. Made when it is missing.
	State config.File `yaml:"state" required:"yes" show:"/var/lib/gatehouse-management"`
	// The home tenant of the instance.
	Tenant space.ID `yaml:"tenant" required:"yes" show:"7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001"`
	// The IoT Hub's name as devices spell it; needed with hub.listen.
	HubHost string `yaml:"hubHost" show:"demo-hub.azure-devices.net"`
	// A building that is imported into an empty store.
	Seed config.File `yaml:"seed" example:"/usr/share/gatehouse/demo-topology.yaml"`
	// How the seed's devices prove themselves; needed with seed. It holds keys: mode 0600. Its form:
	// devices: [{id: ups-1, thumbprints: [sha256…]}, {id: meter-main, primaryKey: base64…}]
	Credentials config.File `yaml:"credentials" example:"/etc/gatehouse/device-credentials.yaml"`
	// Requests of each principal, and as many again of its change feed; also the credentials of one address that are
	// refused. Beyond, they are answered 429.
	RequestsPerSecond float64 `yaml:"requestsPerSecond" unit:"requests a second"`
	// Who becomes Space Administrator at / of an empty store, once, as the creator of an instance does:
	// somebody must be able to fill it.
	Owner owner `yaml:"owner"`

	// The development token issuer: it signs real tokens.
	Issuer issuerSettings `yaml:"issuer"`
	// The development IoT Hub. Its back end authenticates nobody: it binds to loopback only.
	Hub hubSettings `yaml:"hub"`
	// The development Azure Resource Manager, on the same listener: role assignments, role definitions and deny
	// assignments of Microsoft.Authorization. The owner is Owner at / of an empty store.
	ARM armSettings `yaml:"arm"`
	// What "managementd endpoints" prints besides.
	Endpoints endpointSettings `yaml:"endpoints"`
	// The log.
	Log logSettings `yaml:"log"`
}

type armSettings struct {
	// The aud of the tokens that it takes.
	Audiences []string `yaml:"audiences"`
	// The subscription that it lists; empty: none.
	Subscription string `yaml:"subscription" example:"5b1d7d5c-0000-4000-8000-000000000001"`
	// The rows of one page of a list.
	PageSize int `yaml:"pageSize" unit:"rows"`
}

type tlsSettings struct {
	// PEM file with the certificate chain.
	Cert config.File `yaml:"cert" required:"yes" show:"/etc/gatehouse/tls/management.crt"`
	// PEM file with the private key.
	Key config.SecretFile `yaml:"key" required:"yes" show:"${CREDENTIALS_DIRECTORY}/secret_management.key"`
}

// owner is a user or service principal of the home tenant.
type owner struct {
	// The object id; empty: nobody.
	ObjectID space.ID `yaml:"objectId" example:"0fc863aa-eb51-4704-a312-7d635d70e000"`
	// UserId or ServicePrincipalId; needed with an object id.
	Type string `yaml:"objectIdType" example:"UserId"`
}

// issuerSettings is the development token issuer.
type issuerSettings struct {
	// The iss of its v2 tokens; its scheme, host and port are those of every address that it publishes. With /v2.0 at its
	// end, the text before that is the iss of its v1 tokens.
	URL string `yaml:"url" required:"yes" show:"https://127.0.0.1:8443/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001/v2.0"`
	// PEM file with its RSA key; made when it is missing.
	Key config.SecretFile `yaml:"key" required:"yes" show:"/var/lib/gatehouse-management/issuer.key"`
	// What a token can be for, besides the Device Update REST API and this server's own Resource Manager and Graph.
	Audiences []audience `yaml:"audiences"`
	// Who may ask for tokens.
	Accounts []issuer.Account `yaml:"accounts"`
	// Programs through which users sign in. That of the Azure CLI is always known.
	Clients []issuer.Client `yaml:"clients"`
	// How often a program may ask whether its device code is approved; at least 1s.
	DeviceInterval time.Duration `yaml:"deviceInterval"`
	// Managed identities of this machine.
	Identities []issuer.Identity `yaml:"identities"`
	// HOST:PORT on loopback where the managed-identity endpoints listen, without TLS as in Azure, and the switches of the
	// identities; needed with identities. Every program of this machine may use it.
	IdentityListen string `yaml:"identityListen" example:"127.0.0.1:8445"`
	// File with the secret of the App Service endpoint (IDENTITY_HEADER, MSI_SECRET); made when it is missing. Empty:
	// identity-secret in the directory of the store.
	IdentitySecret config.SecretFile `yaml:"identitySecret"`
	// Domains for which a upn matches a DomainName assignment.
	VerifiedDomains []string `yaml:"verifiedDomains" example:"[contoso.com]"`
	// The audience that this API itself asks for.
	Management string `yaml:"management" required:"yes" show:"api://gatehouse-management"`
}

// audience maps the resource of a scope to the aud claim of the token.
type audience struct {
	// The resource.
	Resource string `yaml:"resource" required:"yes" example:"api://gatehouse"`
	// The aud. The same text as the resource: as the request spelled it, with or without a slash at the end.
	Audience string `yaml:"audience" required:"yes" example:"api://gatehouse"`
	// Of the tokens for it: 1 or 2. In Entra too it is the resource that decides this.
	Version int `yaml:"version" unit:"form" example:"1"`
}

// endpointSettings is what `managementd endpoints` cannot know from the rest.
type endpointSettings struct {
	// PEM file with the authority of tls.cert, for clients.
	CA config.File `yaml:"ca"`
	// The Device Update REST API of a gateway.
	DeviceUpdate string `yaml:"deviceUpdate" example:"https://localhost:8447"`
}

// hubSettings is the development IoT Hub.
type hubSettings struct {
	// HOST:PORT on loopback; empty: no hub.
	Listen string `yaml:"listen" example:"127.0.0.1:8884"`
	// Where the root key of the development update authority is written, so that a development gateway
	// can trust it; empty: nowhere.
	SigningRoot config.File `yaml:"signingRoot"`
}

type logSettings struct {
	// What is left out below this.
	Level string `yaml:"level"`
}

func defaults() settings {
	return settings{
		Listen:            "127.0.0.1:8443",
		RequestsPerSecond: 100,
		Issuer:            issuerSettings{DeviceInterval: 5 * time.Second},
		ARM: armSettings{
			Audiences: []string{"https://management.azure.com", "https://management.azure.com/", "https://management.core.windows.net/"},
			PageSize:  200,
		},
		Log: logSettings{Level: "info"},
	}
}

// load reads the file and reports everything that is wrong with it.
func load(file string) (settings, []config.Problem) {
	s := defaults()
	src, problems := config.DecodeSource(file, &s)
	if len(problems) == 1 && problems[0].Field == "" {
		return s, problems // nothing was read, so every key would be reported as missing
	}
	wrong := func(field, message, hint string) {
		if !src.Unread(field) { // otherwise its value could not be read, which is reported already
			problems = append(problems, src.Problem(field, message, hint))
		}
	}
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		wrong("listen", "is no host:port", "write for example 127.0.0.1:8443")
	}
	if s.Tenant.IsZero() {
		wrong("tenant", "is missing", "write the GUID of the home tenant")
	}
	if s.RequestsPerSecond <= 0 {
		wrong("requestsPerSecond", "is not above 0: nobody would be answered", "write for example 100, the limit of the original service")
	}
	if s.State == "" {
		wrong("state", "is missing", "name a directory that this user may write")
	}
	if s.TLS.Cert == "" || s.TLS.Key == "" {
		wrong("tls", "needs cert and key", "name two PEM files")
	}
	if s.Issuer.URL == "" || s.Issuer.Key == "" {
		wrong("issuer", "needs url and key", "the url is what tokens name as iss; the key file is made when it is missing")
	}
	if s.ARM.PageSize < 1 {
		wrong("arm.pageSize", "is below 1: a page would never end", "write for example 200")
	}
	if len(s.ARM.Audiences) == 0 {
		wrong("arm.audiences", "is empty: no token would be accepted", "remove the line, for Azure's own audiences")
	}
	if s.Issuer.Management == "" {
		wrong("issuer.management", "is missing", "name the audience of tokens for this API")
	}
	if s.Seed != "" && s.Credentials == "" {
		wrong("credentials", "is missing, so that the seed's devices could not prove themselves",
			"name the file with their keys and thumbprints, or remove seed once the store is filled")
	}
	if kind, err := model.ParseIdentityKind(s.Owner.Type); !s.Owner.ObjectID.IsZero() &&
		(err != nil || kind != model.UserID && kind != model.ServicePrincipalID) {
		wrong("owner.objectIdType", "is no type that an owner can have", "write UserId or ServicePrincipalId")
	}
	if s.Hub.Listen != "" {
		if _, _, err := net.SplitHostPort(s.Hub.Listen); err != nil {
			wrong("hub.listen", "is no host:port", "write for example 127.0.0.1:8884")
		} else if !loopback(s.Listen) || !loopback(s.Hub.Listen) {
			wrong("hub.listen", "opens the development hub beyond this machine",
				"its back end authenticates nobody: bind listen and hub.listen to 127.0.0.1")
		}
		if s.HubHost == "" {
			wrong("hubHost", "is missing", "write the hub's host name as devices spell it")
		}
	}
	s.Issuer.validate(wrong)
	if len(problems) == 0 {
		problems = s.check(src, time.Now())
	}
	return s, problems
}

func loopback(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
