package main

import (
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/managementd/internal/issuer"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
)

// settings is managementd.yaml.
type settings struct {
	Listen  string      `yaml:"listen"` // host:port of the HTTPS API
	TLS     tlsSettings `yaml:"tls"`
	State   config.File `yaml:"state"`
	Tenant  space.ID    `yaml:"tenant"` // home tenant
	HubHost string      `yaml:"hubHost"`
	// Seed is imported into an empty store; Credentials names, by hub device
	// id, how the seed's devices prove themselves.
	Seed        config.File `yaml:"seed"`
	Credentials config.File `yaml:"credentials"`
	// Owner becomes Space Administrator at / of an empty store, as the creator
	// of an instance does.
	Owner owner `yaml:"owner"`

	Issuer issuerSettings `yaml:"issuer"`
	Hub    hubSettings    `yaml:"hub"`
	Log    logSettings    `yaml:"log"`
}

type tlsSettings struct {
	Cert config.File       `yaml:"cert"`
	Key  config.SecretFile `yaml:"key"`
}

// owner is a user or service principal of the home tenant.
type owner struct {
	ObjectID space.ID `yaml:"objectId"`
	Type     string   `yaml:"objectIdType"` // UserId or ServicePrincipalId
}

// issuerSettings is the development token issuer. URL is its `iss`.
type issuerSettings struct {
	URL       string            `yaml:"url"`
	Key       config.SecretFile `yaml:"key"` // RSA, PEM; made when missing
	Audiences []audience        `yaml:"audiences"`
	Accounts  []issuer.Account  `yaml:"accounts"`
	// VerifiedDomains are those for which a upn matches a DomainName assignment.
	VerifiedDomains []string `yaml:"verifiedDomains"`
	// Management is the audience that this API itself asks for.
	Management string `yaml:"management"`
}

// audience maps the resource of a scope to the aud claim of the token.
type audience struct {
	Resource string `yaml:"resource"`
	Audience string `yaml:"audience"`
}

// hubSettings is the development IoT Hub; an empty Listen means none.
type hubSettings struct {
	Listen string `yaml:"listen"`
	// SigningRoot is where the development update authority's root key is
	// published, so that a development gateway can trust it.
	SigningRoot config.File `yaml:"signingRoot"`
}

type logSettings struct {
	Level string `yaml:"level"`
}

func defaults() settings {
	return settings{Listen: "127.0.0.1:8443", Log: logSettings{Level: "info"}}
}

// load reads the file and reports everything that is wrong with it.
func load(file string) (settings, []config.Problem) {
	s := defaults()
	src, problems := config.DecodeSource(file, &s)
	if len(problems) == 1 && problems[0].Field == "" {
		return s, problems // nothing was read: every "missing" would be noise
	}
	wrong := func(field, message, hint string) {
		if !src.Unread(field) { // what it holds could not be read, and that is said already
			problems = append(problems, src.Problem(field, message, hint))
		}
	}
	if _, _, err := net.SplitHostPort(s.Listen); err != nil {
		wrong("listen", "is no host:port", "write for example 127.0.0.1:8443")
	}
	if s.Tenant.IsZero() {
		wrong("tenant", "is missing", "write the GUID of the home tenant")
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
	if s.Issuer.Management == "" {
		wrong("issuer.management", "is missing", "name the audience of tokens for this API")
	}
	if s.Seed != "" && s.Credentials == "" {
		wrong("credentials", "is missing, so that the seed's devices could not prove themselves", "name the file with their keys and thumbprints, or remove seed once the store is filled")
	}
	if kind, err := model.ParseIdentityKind(s.Owner.Type); !s.Owner.ObjectID.IsZero() && (err != nil || kind != model.UserID && kind != model.ServicePrincipalID) {
		wrong("owner.objectIdType", "is no type that an owner can have", "write UserId or ServicePrincipalId")
	}
	if s.Hub.Listen != "" {
		if _, _, err := net.SplitHostPort(s.Hub.Listen); err != nil {
			wrong("hub.listen", "is no host:port", "write for example 127.0.0.1:8884")
		} else if !loopback(s.Listen) || !loopback(s.Hub.Listen) {
			wrong("hub.listen", "opens the development hub beyond this machine", "its back end authenticates nobody: bind listen and hub.listen to 127.0.0.1")
		}
		if s.HubHost == "" {
			wrong("hubHost", "is missing", "write the hub's host name as devices spell it")
		}
	}
	for i, a := range s.Issuer.Accounts {
		if a.ID == "" || a.Secret == "" || a.ObjectID.IsZero() {
			wrong(fmt.Sprintf("issuer.accounts[%d]", i), "needs id, secret and objectId", "complete it or remove it")
		}
	}
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
