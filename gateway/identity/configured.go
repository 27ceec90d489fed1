package identity

import (
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Configured is what the configuration says of Options: all but Topology, Keys and Now. The error is
// a peer of a unix socket that is nobody.
func Configured(cfg *config.Config) (Options, error) {
	c := cfg.Identity
	o := Options{
		Hub:        cfg.Instance.Hub.Host,
		Audiences:  c.Audiences.MQTT,
		Scope:      c.Scope,
		SASMaxLife: c.SAS.MaxLife,
		AllowSHA1:  c.X509.AllowSHA1,
		MissingEKU: c.X509.AllowMissingEKU,
		Tenants:    Tenants(c),
		Peers:      map[PeerAt]Peer{},
	}
	for _, l := range cfg.Listeners {
		for _, p := range l.Peers {
			subject, err := peerSubject(p.Principal, cfg.Instance.Tenant)
			if err != nil {
				return o, fmt.Errorf("listener %q, uid %d: %w", l.Name, p.UID, err)
			}
			o.Peers[PeerAt{Listener: l.Name, UID: p.UID}] = Peer{Name: strings.TrimPrefix(p.Principal, "local:"), Subject: subject}
		}
	}
	return o, nil
}

// Tenants are the tenants whose tokens are believed.
func Tenants(c config.Identity) []jwt.Tenant {
	list := make([]jwt.Tenant, 0, len(c.Tenants))
	for _, t := range c.Tenants {
		list = append(list, jwt.Tenant{ID: t.ID, Issuers: t.Issuers, VerifiedDomains: t.VerifiedDomains})
	}
	return list
}

// peerSubject is what a unix-socket peer may match: "local:{name}" matches
// nothing, and an identity ({type}:{id}) gives it that identity's rights.
func peerSubject(text string, home space.ID) (model.Subject, error) {
	if strings.HasPrefix(text, "local:") {
		return model.Subject{}, nil
	}
	i, err := principal.ParseIdentity(text, home)
	if err != nil {
		return model.Subject{}, err
	}
	return principal.Holder(text, i).Subject, nil
}
