package gateway

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/gateway/identity/jwks"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/sync/client"
	"github.com/gatehouse/gatehouse/sync/client/credential"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// buildIdentity makes what proves clients.
func (d *daemon) buildIdentity() error {
	c := d.cfg.Identity
	fetch, err := tlsfile.Client(c.JWKS.CA)
	if err != nil {
		return fmt.Errorf("identity.jwks.ca: %w", err)
	}
	if d.keys, err = jwks.New(jwks.Options{
		Source:  c.JWKS,
		Client:  fetch,
		Bucket:  d.store.Bucket("keys"),
		Absent:  store.ErrNotFound,
		Log:     d.log,
		Report:  d.keysFetched,
		Changed: d.keysChanged,
	}); err != nil {
		return fmt.Errorf("identity.jwks: %w", err)
	}
	o := identity.Options{
		Hub: d.cfg.Instance.Hub.Host, Topology: d.policy.Registry, Keys: d.keys.Keys, Now: d.clock.Now,
		Audiences: c.Audiences.MQTT, Scope: c.Scope, SASMaxLife: c.SAS.MaxLife, AllowSHA1: c.X509.AllowSHA1,
	}
	for _, t := range c.Tenants {
		o.Tenants = append(o.Tenants, jwt.Tenant{ID: t.ID, Issuers: t.Issuers, VerifiedDomains: t.VerifiedDomains})
	}
	o.Peers = map[identity.PeerAt]identity.Peer{}
	for _, l := range d.cfg.Listeners {
		for _, p := range l.Peers {
			subject, err := peerSubject(p.Principal, d.cfg.Instance.Tenant)
			if err != nil {
				return fmt.Errorf("listener %q, uid %d: %w", l.Name, p.UID, err)
			}
			o.Peers[identity.PeerAt{Listener: l.Name, UID: p.UID}] = identity.Peer{Name: strings.TrimPrefix(p.Principal, "local:"), Subject: subject}
		}
	}
	d.health.Set(o.AllowSHA1, "x509-sha1", health.Degraded, "certificates that are registered by nothing but a SHA-1 thumbprint are believed",
		"register SHA-256 thumbprints, then remove identity.x509.allowSHA1")
	d.identity, err = identity.New(o)
	return err
}

func (d *daemon) keysFetched(err error) {
	d.health.Set(err != nil, "token-keys", health.Degraded, fmt.Sprint("the key set for tokens cannot be fetched: ", err), "see that identity.jwks.url can be reached; the stored set goes on being used")
}

// keysChanged decides again who may stay connected.
func (d *daemon) keysChanged() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := d.revoke(ctx, everyone); err != nil {
		d.log.Error("the new key set did not reach every session", "err", err)
	}
}

// buildSync makes the replica of the cloud's policy; none without a management API.
func (d *daemon) buildSync() error {
	m := d.cfg.Cloud.Management
	if m.URL == "" {
		return nil
	}
	token, err := d.cloudCredential(m)
	if err != nil {
		return fmt.Errorf("cloud.management.credential: %w", err)
	}
	t := &tls.Config{MinVersion: tls.VersionTLS12}
	if m.CA != "" {
		if t.RootCAs, err = tlsfile.Pool(m.CA); err != nil {
			return fmt.Errorf("cloud.management.ca: %w", err)
		}
	}
	source, err := client.New(client.Options{
		URL: m.URL, Site: d.cfg.Instance.Site, HomeTenant: d.cfg.Instance.Tenant, Token: token, TLS: t, OnTime: d.clock.ReportCloudTime,
	})
	if err != nil {
		return err
	}
	d.cloud, d.idle = source, append(d.idle, source.Close)
	held, resume := replica.Held{}, false
	if d.policy.Loaded() {
		g, err := d.store.Cache().Load(context.Background())
		_, dirty := d.store.Cache().Dirty()
		if err == nil {
			held, resume = replica.Measure(g.Version, &g.Policy, &g.Registry), !dirty
		}
	}
	d.replica, err = replica.New(replica.Options{
		Source: replica.Witnessed(source, d.heard), Sink: d.policy, Held: held, Resume: resume,
		Wait: d.cfg.Cloud.Poll.Wait, FullEvery: d.cfg.Cloud.Poll.Full, Health: d.syncHealth, Log: d.log,
	})
	return err
}

// heard resets the age of the cache.
func (d *daemon) heard() {
	_, dirty := d.store.Cache().Dirty()
	d.staging.Confirm(d.clock.Mark(), dirty)
}

func (d *daemon) syncHealth(h replica.Health) {
	severity := health.Degraded
	d.health.Set(!h.OK() && h.Code != replica.Starting, "cloud-sync", severity, fmt.Sprintf("the cloud's policy cannot be followed (%s): %s", h.Code, h.Detail), "gatehousectl sync tries at once and says what fails")
	d.metrics.Synced(string(h.Code))
	d.noteSync()
}

// cloudCredential is the gateway's own identity.
func (d *daemon) cloudCredential(m config.Management) (client.TokenSource, error) {
	c := m.Credential
	switch c.Kind {
	case config.CredentialClientSecret:
		h, err := tlsfile.Client(m.CA)
		if err != nil {
			return nil, err
		}
		d.idle = append(d.idle, h.CloseIdleConnections)
		if c.TokenURL == "" {
			c.TokenURL = "https://login.microsoftonline.com/" + c.TenantID.String() + "/oauth2/v2.0/token"
		}
		return credential.NewClientSecret(credential.ClientSecretOptions{
			URL:      c.TokenURL,
			ClientID: c.ClientID,
			Scope:    c.Scope,
			Secret:   c.ClientSecret.Read,
			HTTP:     h,
			Now:      d.opts.Now,
		}), nil
	case config.CredentialTokenFile:
		return credential.TokenFile{Read: c.TokenFile.Read}, nil
	}
	return nil, fmt.Errorf("kind %q is not served by this build; client-secret and token-file are", c.Kind)
}

func readBase64(f config.SecretFile) ([]byte, error) {
	text, err := f.Read()
	if err != nil {
		return nil, err
	}
	key, err := base64.StdEncoding.DecodeString(string(text))
	if err == nil && len(key) == 0 {
		err = errors.New("holds no key")
	}
	return key, err
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
