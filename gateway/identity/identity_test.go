package identity

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

const query = "/?api-version=2021-04-12&DeviceClientType=c%2F1.10&model-id=dtmi%3Aazure%3Aiot%3AdeviceUpdateModel%3B3"

func TestProved(t *testing.T) {
	f := newFixture(t)
	moduleToken := sas.Issue(sas.Module(hub, "sas1", "m"), keyOf("sas1/m"), now.Add(hour))
	functionToken := sas.Issue(sas.Function(hub, funcID.String()), keyOf("f"), now.Add(hour))
	devID := func(n byte) []model.Identity {
		return []model.Identity{{Kind: model.DeviceID, Object: space.ID{n, 15: n}}}
	}
	owner := home.String() + "/" + ann.String()
	for _, c := range []struct {
		name  string
		creds *principal.Credentials
		key   string
		kind  principal.Kind
		by    principal.CredentialKind
		who   []model.Identity
	}{
		{"SAS, IoT Hub's user name", creds("sas1", user(hub+"/sas1"+query), pass(deviceToken("sas1", "sas1"))), "device:sas1", principal.Device,
			principal.SAS, devID(10)},
		{"SAS, hub in another case, no slash", creds("sas1", user(strings.ToUpper(hub)+"/sas1"), pass(deviceToken("sas1", "sas1"))),
			"device:sas1", principal.Device, principal.SAS, devID(10)},
		{"SAS, plain user name", creds("sas1", user("sas1"), pass(deviceToken("sas1", "sas1"))), "device:sas1", principal.Device, principal.SAS,
			devID(10)},
		{"SAS, no user name", creds("sas1", pass(deviceToken("sas1", "sas1"))), "device:sas1", principal.Device, principal.SAS, devID(10)},
		{"SAS, secondary key", creds("sas1", user("sas1"), pass(deviceToken("sas1", "sas1 2"))), "device:sas1", principal.Device, principal.SAS,
			devID(10)},
		{"SAS by enhanced authentication", creds("sas1", method(SASMethod, deviceToken("sas1", "sas1"))), "device:sas1", principal.Device,
			principal.SAS, devID(10)},
		{"SAS beside its own certificate", creds("sas1", user("sas1"), pass(deviceToken("sas1", "sas1")), cert(f.certs["sas1"])), "device:sas1",
			principal.Device, principal.SAS, devID(10)},
		{"SAS beside a self-made certificate that names another", creds("sas1", pass(deviceToken("sas1", "sas1")),
			cert(must(credx509.NewSelfSigned("ca1", now.Add(-hour), 100*hour)))), "device:sas1", principal.Device, principal.SAS, devID(10)},
		{"SAS beside a certificate in the name of a device that has none", creds("sas10", pass(deviceToken("sas10", "sas10")),
			cert(f.certs["sas1"])), "device:sas10", principal.Device, principal.SAS, devID(11)},
		{"SAS beside nobody's certificate", creds("sas1", user("sas1"), pass(deviceToken("sas1", "sas1")), cert(f.certs["nobody"])),
			"device:sas1", principal.Device, principal.SAS, devID(10)},
		{"SAS, module", creds("sas1/m", user(hub+"/sas1/m"+query), pass(moduleToken)), "module:sas1/m", principal.Module, principal.SAS,
			devID(10)},
		{"self-signed", creds("self1", user(hub+"/self1"+query), cert(f.certs["self1"])), "device:self1", principal.Device,
			principal.X509SelfSigned, devID(12)},
		{"self-signed, empty password", creds("self1", pass(""), cert(f.certs["self1"])), "device:self1", principal.Device,
			principal.X509SelfSigned, devID(12)},
		{"self-signed, module", creds("self1/m", cert(f.certs["selfmod"])), "module:self1/m", principal.Module, principal.X509SelfSigned,
			devID(12)},
		{"authority", creds("ca1", user(hub+"/ca1/?api-version=2021-04-12"), cert(f.certs["ca1"])), "device:ca1", principal.Device,
			principal.X509CA, devID(14)},
		{"authority, module", creds("ca1/m", user(hub+"/ca1/m/?api-version=2021-04-12"), cert(f.certs["ca1/m"])), "module:ca1/m",
			principal.Module, principal.X509CA, devID(14)},
		{"function", creds("worker", user(hub+"/functions/"+funcID.String()), pass(functionToken)), "function:" + funcID.String(),
			principal.Function, principal.SAS, []model.Identity{{Kind: model.UserDefinedFunctionID, Object: funcID}}},
		{"user", creds("laptop/1", user("whatever"), pass(f.token(jwt.Mint{UPN: "ann@example.com"}))), "user:" + owner, principal.User,
			principal.JWT, []model.Identity{
				{Kind: model.UserID, Object: ann, Tenant: home}, {Kind: model.TenantID, Object: home},
				{Kind: model.DomainName, Domain: "@example.com", Tenant: home}}},
		{"user, bare", creds("", pass(f.token(jwt.Mint{UPN: "ann@example.org"}))), "user:" + owner, principal.User, principal.JWT,
			[]model.Identity{
				{Kind: model.UserID, Object: ann, Tenant: home}, {Kind: model.TenantID, Object: home}}},
		{"user by enhanced authentication", creds("x", method(BearerMethod, f.token(jwt.Mint{}))), "user:" + owner, principal.User,
			principal.JWT, []model.Identity{
				{Kind: model.UserID, Object: ann, Tenant: home}, {Kind: model.TenantID, Object: home}}},
		{"guest", creds("laptop", pass(f.token(jwt.Mint{UPN: "ann@example.com", Guest: true}))), "user:" + owner, principal.User, principal.JWT,
			[]model.Identity{{Kind: model.UserID, Object: ann, Tenant: home}}},
		{"service", creds("robot", pass(f.token(jwt.Mint{Kind: jwt.ServicePrincipal}))), "sp:" + owner, principal.ServicePrincipal,
			principal.JWT, []model.Identity{{Kind: model.ServicePrincipalID, Object: ann, Tenant: home}}},
		{"user under a device's name", creds("sas1", user("ann"), pass(f.token(jwt.Mint{UPN: "ann@example.org"}))), "user:" + owner,
			principal.User, principal.JWT, []model.Identity{
				{Kind: model.UserID, Object: ann, Tenant: home}, {Kind: model.TenantID, Object: home}}},
		{"service under a colliding device's name", creds("dup", user("dup"), pass(f.token(jwt.Mint{Kind: jwt.ServicePrincipal}))),
			"sp:" + owner, principal.ServicePrincipal, principal.JWT,
			[]model.Identity{{Kind: model.ServicePrincipalID, Object: ann, Tenant: home}}},
		{"service under the name of no module", creds("sas1/zzz", pass(f.token(jwt.Mint{Kind: jwt.ServicePrincipal}))), "sp:" + owner,
			principal.ServicePrincipal, principal.JWT, []model.Identity{{Kind: model.ServicePrincipalID, Object: ann, Tenant: home}}},
		{"function under a device's name", creds("sas1", user(hub+"/functions/"+funcID.String()), pass(functionToken)),
			"function:" + funcID.String(), principal.Function, principal.SAS,
			[]model.Identity{{Kind: model.UserDefinedFunctionID, Object: funcID}}},
		{"local process under a device's name", creds("sas1", uid(1000)), "local:admin", principal.Local, principal.PeerUID, nil},
		{"SAS beside a certificate that another registered", creds("sas1", pass(deviceToken("sas1", "sas1")), cert(f.certs["self1"])),
			"device:sas1", principal.Device, principal.SAS, devID(10)},
		{"user beside a certificate that another registered", creds("laptop", pass(f.token(jwt.Mint{UPN: "ann@example.org"})),
			cert(f.certs["self1"])), "user:" + owner, principal.User, principal.JWT, []model.Identity{
			{Kind: model.UserID, Object: ann, Tenant: home}, {Kind: model.TenantID, Object: home}}},
		{"SAS as an older C SDK writes it", creds("sas1", user(hub+"/sas1/api-version=2016-11-14&DeviceClientType=iothubclient%2f1.1.14"),
			pass(deviceToken("sas1", "sas1")+"&skn=")), "device:sas1", principal.Device, principal.SAS, devID(10)},
		{"no question mark", creds("sas1", user(hub+"/sas1/api-version=2016-11-14"), pass(deviceToken("sas1", "sas1"))), "device:sas1",
			principal.Device, principal.SAS, devID(10)},
		{"empty skn", creds("sas1", user(hub+"/sas1"+query), pass(deviceToken("sas1", "sas1")+"&skn=")), "device:sas1", principal.Device,
			principal.SAS, devID(10)},
		{"local", creds("ctl", uid(1000)), "local:admin", principal.Local, principal.PeerUID, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, r := f.try(c.creds)
			if r != nil {
				t.Fatal(r)
			}
			if p.Key != c.key || p.Kind != c.kind || p.Credential != c.by || p.CredentialID == "" || p.Name == "" {
				t.Errorf("%+v", p)
			}
			if d := cmp.Diff(c.who, p.Subject.Identities); d != "" {
				t.Error(d)
			}
			if (p.Credential == principal.PeerUID) != p.Expires.IsZero() {
				t.Errorf("expires %v", p.Expires)
			}
			if r := f.auth.Still(p); r != nil {
				t.Errorf("just proved, and already %v", r)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	f := newFixture(t)
	attacker := must(credx509.NewSelfSigned("self1", now.Add(-hour), 100*hour))
	good := deviceToken("sas1", "sas1")
	bearer := f.token(jwt.Mint{UPN: "ann@example.com"})
	functionToken := sas.Issue(sas.Function(hub, funcID.String()), keyOf("f"), now.Add(hour))
	for _, c := range []struct {
		name   string
		creds  *principal.Credentials
		code   byte
		reason string
	}{
		{"nothing at all", creds(""), 0x86, "no-credentials"},
		{"unknown device, SAS", creds("ghost", user("ghost"), pass(deviceToken("ghost", "sas1"))), 0x86, "unknown-device"},
		{"unknown device, certificate", creds("nobody", cert(f.certs["nobody"])), 0x86, "unknown-device"},
		{"colliding records", creds("dup", user("dup"), pass(deviceToken("dup", "dup"))), 0x86, "record-refused"},
		{"no credential registered", creds("none", pass(good)), 0x86, "no-credential-registered"},
		{"wrong key", creds("sas1", user("sas1"), pass(deviceToken("sas1", "sas10"))), 0x86, "wrong-key"},
		{"sas1's token as sas10", creds("sas10", user("sas10"), pass(good)), 0x86, "wrong-resource"},
		{"sas10's token as sas1", creds("sas1", user("sas1"), pass(deviceToken("sas10", "sas10"))), 0x86, "wrong-resource"},
		{"device's token as module", creds("sas1/m", user(hub+"/sas1/m"), pass(good)), 0x86, "wrong-resource"},
		{"device's key, module's resource", creds("sas1/m", pass(sas.Issue(sas.Module(hub, "sas1", "m"), keyOf("sas1"), now.Add(hour)))), 0x86,
			"wrong-key"},
		{"module's token as device", creds("sas1", pass(sas.Issue(sas.Module(hub, "sas1", "m"), keyOf("sas1/m"), now.Add(hour)))), 0x86,
			"wrong-resource"},
		{"unknown module", creds("sas1/x", pass(good)), 0x86, "unknown-module"},
		{"module of a module", creds("sas1/m/x", pass(good)), 0x86, "unknown-module"},
		{"expired", creds("sas1", pass(sas.Issue(sas.Device(hub, "sas1"), keyOf("sas1"), now))), 0x86, "expired"},
		{"lives too long", creds("sas1", pass(sas.Issue(sas.Device(hub, "sas1"), keyOf("sas1"), now.Add(25*hour)))), 0x86, "life-too-long"},
		{"policy token", creds("sas1", pass(good+"&skn=device")), 0x86, "policy-token"},
		{"no password", creds("sas1", user("sas1")), 0x86, "no-password"},
		{"empty password", creds("sas1", user("sas1"), pass("")), 0x86, "no-password"},
		{"password without its flag", creds("sas1", user("sas1"), func(c *principal.Credentials) { c.Password = []byte(good) }), 0x86,
			"no-password"},
		{"empty user name", creds("sas1", user(""), pass(good)), 0x86, "wrong-username"},
		{"another device's user name", creds("sas1", user(hub+"/sas10"+query), pass(good)), 0x86, "wrong-username"},
		{"another hub's user name", creds("sas1", user("x"+hub+"/sas1"+query), pass(good)), 0x86, "wrong-username"},
		{"module's user name", creds("sas1", user(hub+"/sas1/m"+query), pass(good)), 0x86, "wrong-username"},
		{"user name with a wildcard", creds("sas1", user(hub+"/sas1/#"), pass(good)), 0x86, "wrong-username"},
		{"user name with a broken query", creds("sas1", user(hub+"/sas1/?a=1&a=2"), pass(good)), 0x86, "wrong-username"},
		{"certificate for a SAS device", creds("sas1", cert(f.certs["sas1"])), 0x86, "no-password"},
		{"garbage for a SAS device", creds("sas1", pass("hunter2")), 0x86, "wrong-credential-kind"},
		{"SAS for a certificate device", creds("self1", pass(deviceToken("self1", ""))), 0x86, "wrong-credential-kind"},
		{"certificate and password", creds("self1", pass("x"), cert(f.certs["self1"])), 0x86, "wrong-credential-kind"},
		{"certificate and another's SAS", creds("self1", pass(good), cert(f.certs["self1"])), 0x86, "wrong-credential-kind"},
		{"SAS and another's named certificate", creds("sas1", pass(good), cert(f.certs["ca1"])), 0x86, "two-principals"},
		{"SAS and the own module's certificate", creds("self1", pass(deviceToken("self1", "self1")), cert(f.certs["selfmod"])), 0x86,
			"wrong-credential-kind"},
		{"module's certificate as device", creds("self1", cert(f.certs["selfmod"])), 0x86, "unknown-certificate"},
		{"device's certificate as module", creds("self1/m", cert(f.certs["self1"])), 0x86, "unknown-certificate"},
		{"another's self-signed", creds("self1", cert(f.certs["self2"])), 0x86, "unknown-certificate"},
		{"a stranger's of the same name", creds("self1", cert(attacker)), 0x86, "unknown-certificate"},
		{"vouched for, but thumbprint is registered", creds("self1", cert(must(f.root.Client("self1", now.Add(-hour), hour*2, nil)))), 0x86,
			"unknown-certificate"},
		{"self-signed, but an authority is registered", creds("ca1", cert(must(credx509.NewSelfSigned("ca1", now.Add(-hour), 100*hour)))), 0x86,
			"untrusted"},
		{"ca2's certificate as ca1", creds("ca1", cert(f.certs["ca2"])), 0x86, "wrong-name"},
		{"nobody's certificate as ca1", creds("ca1", cert(f.certs["nobody"])), 0x86, "wrong-name"},
		{"device's certificate as its module, authority", creds("ca1/m", cert(f.certs["ca1"])), 0x86, "wrong-name"},
		{"no certificate", creds("self1", user("self1")), 0x86, "no-certificate"},
		{"TLS without a certificate", creds("ca1", cert()), 0x86, "no-certificate"},
		{"garbage under a device's name", creds("sas1", user("ann"), pass("hunter2")), 0x85, "client-id-of-device"},
		{"expired user under a device's name", creds("sas1", user("ann"), pass(f.token(jwt.Mint{Life: -hour}))), 0x86, "expired"},
		{"user under a device's name, with the device's certificate", creds("ca1", pass(bearer), cert(f.certs["ca1"])), 0x86,
			"two-principals"},
		{"token and white space", creds("laptop", pass(bearer+"\n")), 0x86, "malformed-token"},
		{"blank and token", creds("laptop", pass(" "+bearer)), 0x86, "malformed-token"},
		{"white space in a token", creds("laptop", pass(strings.Replace(bearer, ".", ".\n", 1))), 0x86, "malformed-token"},
		{"token and white space by enhanced authentication", creds("laptop", method(BearerMethod, bearer+" ")), 0x86, "malformed-token"},
		{"token and white space under a device's name", creds("sas1", pass(bearer+"\r\n")), 0x86, "malformed-token"},
		{"SAS of a local process", creds("sas1", uid(1000), pass(good)), 0x86, "two-credentials"},
		{"wildcard client id", creds("a+", pass(bearer)), 0x85, "bad-client-id"},
		{"multi-level wildcard client id", creds("a/#", pass(bearer)), 0x85, "bad-client-id"},
		{"NUL in the client id", creds("sas1\x00", pass(bearer)), 0x85, "bad-client-id"},
		{"overlong UTF-8 in the client id", creds("sas1\xc0\xaf", pass(bearer)), 0x85, "bad-client-id"},
		{"long client id", creds(strings.Repeat("x", maxLabel+1), pass(bearer)), 0x85, "bad-client-id"},
		{"user with a certificate that names a device", creds("laptop", pass(bearer), cert(f.certs["ca1"])), 0x86, "two-principals"},
		{"audience of another surface", creds("laptop", pass(f.token(jwt.Mint{Audience: "api://other"}))), 0x86, "wrong-audience"},
		{"garbage", creds("laptop", pass("hunter2")), 0x86, "malformed-token"},
		{"two secrets", creds("laptop", pass(bearer), method(BearerMethod, bearer)), 0x86, "two-credentials"},
		{"unknown method", creds("laptop", method("SCRAM-SHA-1", "x")), 0x8C, "unknown-auth-method"},
		{"data without method", creds("laptop", method("", bearer)), 0x82, "auth-data-without-method"},
		{"bearer method, SAS data", creds("sas1", method(BearerMethod, good)), 0x86, "bad-credentials"},
		{"unknown uid", creds("ctl", uid(1001)), 0x87, "unknown-uid"},
		{"root is nobody", creds("ctl", uid(0)), 0x87, "unknown-uid"},
		{"uid and password", creds("ctl", uid(1000), pass(bearer)), 0x86, "two-credentials"},
		{"uid of another listener", creds("ctl", uid(1000), func(c *principal.Credentials) { c.Listener = "other" }), 0x87, "unknown-uid"},
		{"uid over the network", creds("ctl", func(c *principal.Credentials) { c.PeerUID = 1000 }), 0x86, "no-credentials"},
		{"unknown function", creds("w", user(hub+"/functions/"+ann.String()), pass(functionToken)), 0x86, "unknown-function"},
		{"function by a name", creds("w", user(hub+"/functions/f"), pass(functionToken)), 0x86, "unknown-function"},
		{"function, wrong key", creds("w", user(hub+"/functions/"+funcID.String()),
			pass(sas.Issue(sas.Function(hub, funcID.String()), keyOf("sas1"), now.Add(hour)))), 0x86, "wrong-key"},
		{"function, a device's token", creds("w", user(hub+"/functions/"+funcID.String()), pass(good)), 0x86, "wrong-resource"},
		{"function under a device's name, wrong key", creds("sas1", user(hub+"/functions/"+funcID.String()),
			pass(sas.Issue(sas.Function(hub, funcID.String()), keyOf("sas1"), now.Add(hour)))), 0x86, "wrong-key"},
		{"device under a function's user name", creds("sas1", user(hub+"/functions/"+funcID.String()), pass(good)), 0x86, "wrong-username"},
		{"function with a device's certificate",
			creds("w", user(hub+"/functions/"+funcID.String()), pass(functionToken), cert(f.certs["ca1"])), 0x86, "two-principals"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, r := f.try(c.creds)
			if r == nil {
				t.Fatalf("proved %+v", p)
			}
			if p != nil || r.Code != c.code || r.Reason != c.reason {
				t.Errorf("%#x %v, want %#x %s", r.Code, r, c.code, c.reason)
			}
			if s := fmt.Sprintf("%v %+v", r, *r); strings.Contains(s, bearer[20:60]) || strings.Contains(s, "key of") ||
				strings.Contains(s, "hunter2") || strings.Contains(s, "sig=") {
				t.Errorf("tells a secret: %s", s)
			}
		})
	}
}

func TestStateOfTheRecord(t *testing.T) {
	f := newFixture(t)
	for _, s := range []device.Status{device.UnknownStatus, device.Provisioning, device.Offline, device.Disabled} {
		f.change("sas1", func(d *device.Device) { d.Status = s })
		if _, r := f.try(creds("sas1", pass(deviceToken("sas1", "sas1")))); r == nil || r.Code != 0x87 || r.Reason != "not-active" {
			t.Errorf("status %d: %v", s, r)
		}
		if _, r := f.try(creds("sas1", pass(deviceToken("sas1", "x")))); r == nil || r.Reason != "wrong-key" {
			t.Errorf("status %d is told to a stranger: %v", s, r)
		}
		if _, r := f.try(creds("sas1/m", pass(sas.Issue(sas.Module(hub, "sas1", "m"), keyOf("sas1/m"), now.Add(hour))))); r == nil ||
			r.Reason != "not-active" {
			t.Errorf("module of a device of status %d: %v", s, r)
		}
	}
	f.change("ca1", func(d *device.Device) { d.Space = attic })
	if _, r := f.try(creds("ca1", cert(f.certs["ca1"]))); r == nil || r.Reason != "untrusted" {
		t.Errorf("moved away from the authority's place: %v", r)
	}
	f.top = nil
	if _, r := f.try(creds("sas10", pass(deviceToken("sas10", "sas10")))); r == nil || r.Code != 0x88 {
		t.Errorf("no registry: %v", r)
	}
	f.rebuild()
	token := f.token(jwt.Mint{})
	f.keys = jwt.Keys{}
	if _, r := f.try(creds("laptop", pass(token))); r == nil || r.Code != 0x88 {
		t.Errorf("no key set: %v", r)
	}
	empty, _ := device.NewTopology(device.Data{}, device.Options{})
	f.top = empty
	if _, r := f.try(creds("sas10", pass(deviceToken("sas10", "sas10")))); r == nil {
		t.Error("an empty registry lets a device in")
	}
}

func TestSHA1OnlyBySetting(t *testing.T) {
	f := newFixture(t)
	f.change("self1", func(d *device.Device) {
		d.Auth = device.Auth{Kind: device.AuthSelfSigned,
			ThumbprintsSHA1: []device.ThumbprintSHA1{credx509.ThumbprintSHA1(f.certs["self1"].Cert)}}
	})
	if _, r := f.try(creds("self1", cert(f.certs["self1"]))); r == nil || r.Reason != "unknown-certificate" {
		t.Errorf("SHA-1 without the setting: %v", r)
	}
	o := f.auth.o
	o.AllowSHA1 = true
	f.auth = must(New(o))
	p, r := f.try(creds("self1", cert(f.certs["self1"])))
	if r != nil || f.auth.Still(p) != nil {
		t.Errorf("SHA-1 with the setting: %v, %v", r, f.auth.Still(p))
	}
	if _, r := f.try(creds("sas1", pass(deviceToken("sas1", "sas1")), cert(f.certs["self1"]))); r != nil {
		t.Errorf("another's certificate by SHA-1 beside a password: %v", r)
	}
}

func TestOptions(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*Options){
		"no hub":      func(o *Options) { o.Hub = "" },
		"no registry": func(o *Options) { o.Topology = nil },
		"no keys":     func(o *Options) { o.Keys = nil },
		"no clock":    func(o *Options) { o.Now = nil },
		"no peer name": func(o *Options) {
			o.Peers = map[PeerAt]Peer{{"l", 1}: {}}
		},
		"two peers of a name": func(o *Options) { o.Peers = map[PeerAt]Peer{{"l", 1}: {Name: "a"}, {"l", 2}: {Name: "a"}} },
		"leeway":              func(o *Options) { o.Leeway = hour },
	} {
		o := f.auth.o
		change(&o)
		if _, err := New(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}
