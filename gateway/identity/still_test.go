package identity

import (
	"math/big"
	"sync"
	"testing"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// What was proved stays proved only while a new connection with the same
// credential would be accepted.
func TestStill(t *testing.T) {
	sasCreds := func(f *fixture) *principal.Credentials {
		return creds("sas1", user("sas1"), pass(deviceToken("sas1", "sas1")))
	}
	module := func(*fixture) *principal.Credentials {
		return creds("sas1/m", pass(sas.Issue(sas.Module(hub, "sas1", "m"), keyOf("sas1/m"), now.Add(hour))))
	}
	self := func(f *fixture) *principal.Credentials { return creds("self1", cert(f.certs["self1"])) }
	byCA := func(f *fixture) *principal.Credentials { return creds("ca1", cert(f.certs["ca1"])) }
	bearer := func(f *fixture) *principal.Credentials { return creds("laptop", pass(f.token(jwt.Mint{}))) }
	function := func(*fixture) *principal.Credentials {
		return creds("w", user(hub+"/functions/"+funcID.String()), pass(sas.Issue(sas.Function(hub, funcID.String()), keyOf("f"), now.Add(hour))))
	}
	local := func(*fixture) *principal.Credentials { return creds("ctl", uid(1000)) }
	device1 := func(hubID string, edit func(*device.Device)) func(*fixture) {
		return func(f *fixture) { f.change(hubID, edit) }
	}
	crl := func(f *fixture, serials ...*big.Int) []byte {
		return must(f.root.CRL(1, now.Add(-hour), hour*2, serials...))
	}
	for _, c := range []struct {
		name   string
		creds  func(*fixture) *principal.Credentials
		change func(*fixture)
		want   string // "": stays
	}{
		{"nothing", sasCreds, func(*fixture) {}, ""},
		{"renamed", sasCreds, device1("sas1", func(d *device.Device) { d.Name = "new" }), ""},
		{"keys swapped", sasCreds, device1("sas1",
			func(d *device.Device) { d.Auth.Primary, d.Auth.Secondary = d.Auth.Secondary, d.Auth.Primary }), ""},
		{"secondary key rolled", sasCreds, device1("sas1", func(d *device.Device) { d.Auth.Secondary = keyOf("new") }), ""},
		{"key rolled", sasCreds, device1("sas1", func(d *device.Device) { d.Auth.Primary = keyOf("new") }), "wrong-key"},
		{"keys removed", sasCreds, device1("sas1", func(d *device.Device) { d.Auth.Primary, d.Auth.Secondary = nil, nil }), "wrong-key"},
		{"kind changed", sasCreds, device1("sas1", func(d *device.Device) { d.Auth = device.Auth{Kind: device.AuthCA} }),
			"wrong-credential-kind"},
		{"disabled", sasCreds, device1("sas1", func(d *device.Device) { d.Status = device.Disabled }), "not-active"},
		{"deleted", sasCreds, func(f *fixture) {
			f.top, _ = f.top.Apply(device.Changes{RemoveDevices: []space.ID{f.data.Devices[0].ID}})
		}, "unknown-device"},
		{"made again", sasCreds, device1("sas1", func(d *device.Device) { d.ID = space.ID{77} }), "unknown-device"},
		{"hub id changed", sasCreds, device1("sas1", func(d *device.Device) { d.HubID = "other" }), "unknown-device"},
		{"collides", sasCreds, device1("sas10", func(d *device.Device) { d.HubID = "sas1" }), "record-refused"},
		{"expired", sasCreds, func(f *fixture) { f.now = now.Add(hour) }, "expired"},
		// An expiry lets the will be sent; it must not hide what does not.
		{"expired and disabled", sasCreds, func(f *fixture) {
			f.now = now.Add(hour)
			f.change("sas1", func(d *device.Device) { d.Status = device.Disabled })
		}, "not-active"},
		{"expired and key rolled", sasCreds, func(f *fixture) {
			f.now = now.Add(hour)
			f.change("sas1", func(d *device.Device) { d.Auth.Primary = keyOf("new") })
		}, "wrong-key"},
		{"certificate expired and replaced", self, func(f *fixture) {
			f.now = now.Add(200 * hour)
			f.change("self1", func(d *device.Device) { d.Auth.Thumbprints = []device.Thumbprint{{5}} })
		}, "unknown-certificate"},
		{"registry lost", sasCreds, func(f *fixture) { f.top = nil }, "no-registry"},
		{"module, device disabled", module, device1("sas1", func(d *device.Device) { d.Status = device.Disabled }), "not-active"},
		{"module removed", module, device1("sas1", func(d *device.Device) { d.Modules = nil }), "unknown-module"},
		{"module's key rolled", module, device1("sas1", func(d *device.Device) { d.Modules[0].Auth.Primary = keyOf("new") }), "wrong-key"},
		{"module, device's key rolled", module, device1("sas1", func(d *device.Device) { d.Auth.Primary = keyOf("new") }), ""},
		{"second thumbprint added", self, device1("self1", func(d *device.Device) {
			d.Auth.Thumbprints = append([]device.Thumbprint{{5}}, d.Auth.Thumbprints...)
		}), ""},
		{"thumbprint replaced", self, device1("self1", func(d *device.Device) { d.Auth.Thumbprints = []device.Thumbprint{{5}} }),
			"unknown-certificate"},
		{"certificate expired", self, func(f *fixture) { f.now = now.Add(200 * hour) }, "expired"},
		{"revoked", byCA, func(f *fixture) {
			f.data.CAs[0].CRL = crl(f, f.certs["ca1"].Cert.SerialNumber)
			f.rebuild()
		}, "revoked"},
		{"another revoked", byCA, func(f *fixture) {
			f.data.CAs[0].CRL = crl(f, f.certs["ca2"].Cert.SerialNumber)
			f.rebuild()
		}, ""},
		{"authority removed", byCA, func(f *fixture) { f.data.CAs = nil; f.rebuild() }, "untrusted"},
		{"authority moved", byCA, func(f *fixture) { f.data.CAs[0].Path = space.Root.Join(attic); f.rebuild() }, "untrusted"},
		{"device moved", byCA, device1("ca1", func(d *device.Device) { d.Space = attic }), "untrusted"},
		{"certificate registered for another", byCA, func(f *fixture) {
			f.change("self2", func(d *device.Device) {
				d.Auth.Thumbprints = []device.Thumbprint{credx509.Thumbprint(f.certs["ca1"].Cert)}
			})
		}, ""},
		{"thumbprint registered for another", self, func(f *fixture) {
			f.change("self2", func(d *device.Device) {
				d.Auth.Thumbprints = []device.Thumbprint{credx509.Thumbprint(f.certs["self1"].Cert)}
			})
		}, ""},
		{"user, registry changes", bearer, func(f *fixture) { f.data = device.Data{}; f.rebuild() }, ""},
		{"token expired", bearer, func(f *fixture) { f.now = now.Add(hour) }, "expired"},
		{"signing key withdrawn", bearer, func(f *fixture) { f.keys = jwt.Keys{} }, "unknown-signing-key"},
		{"function stays", function, func(*fixture) {}, ""},
		{"function removed", function, func(f *fixture) { f.data.Functions = nil; f.rebuild() }, "unknown-function"},
		{"function's key rolled", function, func(f *fixture) { f.data.Functions[0].Auth.Primary = keyOf("new"); f.rebuild() }, "wrong-key"},
		{"local stays", local, func(f *fixture) { f.now = now.Add(10000 * hour) }, ""},
		{"local removed", local, func(f *fixture) {
			o := f.auth.o
			o.Peers = nil
			f.auth = must(New(o))
		}, "unknown-uid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			p, r := f.try(c.creds(f))
			if r != nil {
				t.Fatal(r)
			}
			c.change(f)
			r = f.auth.Still(p)
			switch {
			case c.want == "" && r != nil:
				t.Errorf("ended: %v", r)
			case c.want != "" && (r == nil || r.Reason != c.want):
				t.Errorf("%v, want %s", r, c.want)
			}
		})
	}
	f := newFixture(t)
	for _, k := range []principal.Kind{principal.Upstream, principal.Gateway} {
		if r := f.auth.Still(&principal.Principal{Kind: k}); r != nil {
			t.Errorf("%v: %v", k, r)
		}
	}
	if f.auth.Still(&principal.Principal{}) == nil {
		t.Error("a principal of no kind stays")
	}
}

// The list of authorities is parsed once per list, and never goes stale.
func TestAuthoritiesFollowTheTopology(t *testing.T) {
	f := newFixture(t)
	set := f.auth.authorities(f.top)
	next, _ := f.top.Apply(device.Changes{PutDevices: []device.Device{f.data.Devices[1]}})
	if f.auth.authorities(next) != set {
		t.Error("parsed again although no authority changed")
	}
	gone, _ := next.Apply(device.Changes{RemoveCAs: []space.ID{f.data.CAs[0].ID}})
	if f.auth.authorities(gone) == set {
		t.Error("a removed authority is still there")
	}
	f.data.CAs[0].DER = []byte("x")
	f.rebuild()
	if ps := f.auth.Problems(); len(ps) != 1 {
		t.Errorf("problems %v", ps)
	}
	f.top = nil
	if ps := f.auth.Problems(); ps != nil {
		t.Errorf("problems %v", ps)
	}
	var all sync.WaitGroup
	f = newFixture(t)
	for range 8 {
		all.Go(func() {
			if _, r := f.try(creds("ca1", cert(f.certs["ca1"]))); r != nil {
				t.Error(r)
			}
		})
	}
	all.Wait()
}
