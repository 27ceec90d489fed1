package identity

import (
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
)

// A guest is itself and nobody else: no right of the tenant or of a domain is a guest's, whatever the
// token says of a domain.
func TestAGuestIsNobodyOfTheTenant(t *testing.T) {
	for _, member := range []bool{false, true} {
		s := Subject(&jwt.Claims{Kind: jwt.User, Tenant: home, Object: ann, Member: member, Domain: "@example.com"})
		want := []model.Identity{{Kind: model.UserID, Object: ann, Tenant: home}}
		if member {
			want = append(want, model.Identity{Kind: model.TenantID, Object: home},
				model.Identity{Kind: model.DomainName, Domain: "@example.com", Tenant: home})
		}
		if len(s.Identities) != len(want) {
			t.Fatalf("member %v: %+v", member, s.Identities)
		}
		for i := range want {
			if s.Identities[i] != want[i] {
				t.Errorf("member %v: %+v, want %+v", member, s.Identities[i], want[i])
			}
		}
	}
}

// Who connected by the secondary key stays while the record holds that key, whichever of the two it is,
// and not because there is a secondary key.
func TestTheSecondaryKeyIsTheOneThatProved(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*device.Auth)
		stays  bool
	}{
		"primary rolled":   {func(a *device.Auth) { a.Primary = keyOf("new") }, true},
		"swapped":          {func(a *device.Auth) { a.Primary, a.Secondary = a.Secondary, a.Primary }, true},
		"secondary rolled": {func(a *device.Auth) { a.Secondary = keyOf("new") }, false},
		"secondary gone":   {func(a *device.Auth) { a.Secondary = nil }, false},
	} {
		f := newFixture(t)
		p, r := f.try(creds("sas1", user("sas1"), pass(deviceToken("sas1", "sas1 2"))))
		if r != nil {
			t.Fatal(r)
		}
		f.change("sas1", func(d *device.Device) { c.change(&d.Auth) })
		if r := f.auth.Still(p); (r == nil) != c.stays {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// A SHA-1 thumbprint keeps nobody connected once the configuration does not allow it any more.
func TestASHA1ThumbprintNeedsLeaveToStay(t *testing.T) {
	f := newFixture(t)
	allow := func(yes bool) {
		o := f.auth.o
		o.AllowSHA1 = yes
		f.auth = must(New(o))
	}
	allow(true)
	f.change("self1", func(d *device.Device) {
		d.Auth.Thumbprints = nil
		d.Auth.ThumbprintsSHA1 = []device.ThumbprintSHA1{credx509.ThumbprintSHA1(f.certs["self1"].Cert)}
	})
	p, r := f.try(creds("self1", cert(f.certs["self1"])))
	if r != nil {
		t.Fatal(r)
	}
	if r := f.auth.Still(p); r != nil {
		t.Errorf("allowed: %v", r)
	}
	allow(false)
	if r := f.auth.Still(p); r == nil || r.Reason != "unknown-certificate" {
		t.Errorf("not allowed any more: %v", r)
	}
}

// A peer that the configuration no longer names is gone, though it names others.
func TestAPeerIsGoneAmongOthers(t *testing.T) {
	f := newFixture(t)
	p, r := f.try(creds("ctl", uid(1000)))
	if r != nil {
		t.Fatal(r)
	}
	o := f.auth.o
	o.Peers = map[PeerAt]Peer{{"local", 1001}: {Name: "other"}}
	f.auth = must(New(o))
	if r := f.auth.Still(p); r == nil || r.Reason != "unknown-uid" {
		t.Errorf("%v", r)
	}
}
