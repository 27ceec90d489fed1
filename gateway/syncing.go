package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"time"

	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/identity"
	"github.com/gatehouse/gatehouse/gateway/identity/jwks"
	"github.com/gatehouse/gatehouse/gateway/ownid"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/sync/client"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// buildIdentity makes the part that authenticates clients.
func (d *daemon) buildIdentity() error {
	c := d.cfg.Identity
	var err error
	if d.keys, err = jwks.New(jwks.Options{
		Source:  c.JWKS,
		Client:  tlsfile.Client(c.JWKS.CA),
		Bucket:  d.store.Bucket("keys"),
		Absent:  store.ErrNotFound,
		Log:     d.log,
		Report:  func(err error) { warnings.TokenKeys(d.health, c.JWKS.File != "", err) },
		Changed: d.keysChanged,
	}); err != nil {
		return fmt.Errorf("identity.jwks: %w", err)
	}
	o, err := identity.Configured(&d.cfg)
	if err != nil {
		return err
	}
	o.Topology, o.Keys, o.Now = d.policy.Registry, d.keys.Keys, d.clock.Now
	o.Served, o.SharedFound = d.servedBy, d.noteShared
	warnings.SHA1(d.health, o.AllowSHA1)
	d.identity, err = identity.New(o)
	return err
}

// servedBy is the certificate that a listener serves; nil without TLS.
func (d *daemon) servedBy(listener string) *x509.Certificate {
	if door := d.doors.byName[listener]; door != nil {
		return door.Certificate()
	}
	return nil
}

// noteShared names in health the certificates that two records claim.
func (d *daemon) noteShared() {
	d.sharing.Lock()
	defer d.sharing.Unlock()
	if d.identity != nil { // there is none yet while the stored policy is read at the start
		warnings.SharedCertificates(d.health, d.identity.SharedCertificates())
	}
}

// keysChanged is called when the token keys have changed: it decides again which clients may stay connected.
func (d *daemon) keysChanged() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if _, err := d.revoke(ctx, principal.Everyone()); err != nil {
		d.log.Error("the new key set did not reach every session", "err", err)
	}
}

// buildSync makes the replica of the cloud's policy; none without a management API.
func (d *daemon) buildSync() error {
	m := d.cfg.Cloud.Management
	if m.URL == "" {
		return nil
	}
	token, idle, err := ownid.New(m, d.opts.Now, d.log)
	if err != nil {
		return fmt.Errorf("cloud.management.credential: %w", err)
	}
	d.token, d.idle = token, append(d.idle, idle)
	source, err := client.New(client.Options{
		URL:        m.URL,
		Site:       d.cfg.Instance.Site,
		HomeTenant: d.cfg.Instance.Tenant,
		Token:      token,
		TLS:        &tls.Config{MinVersion: tls.VersionTLS12},
		Over:       func(t *http.Transport) http.RoundTripper { return tlsfile.Trusting(m.CA, t) },
		OnTime:     d.clock.ReportCloudTime,
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
		Source:    replica.Witnessed(source, d.heard),
		Sink:      d.policy,
		Held:      held,
		Resume:    resume,
		Wait:      d.cfg.Cloud.Poll.Wait,
		FullEvery: d.cfg.Cloud.Poll.Full,
		Health:    d.syncHealth,
		Log:       d.log,
	})
	return err
}

// heard resets the age of the cached policy, because the cloud has confirmed it.
func (d *daemon) heard() {
	_, dirty := d.store.Cache().Dirty()
	d.staging.Confirm(d.clock.Mark(), dirty)
	d.word.Do(d.keeper.Keep)
}

func (d *daemon) syncHealth(h replica.Health) {
	warnings.CloudSync(d.health, !h.OK() && h.Code != replica.Starting, string(h.Code), h.Detail)
	d.metrics.Synced(string(h.Code))
	d.noteSync()
}
