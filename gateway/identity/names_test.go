package identity

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func isHub(host string) bool { return strings.EqualFold(host, hub) }

func TestUsernames(t *testing.T) {
	dev, mod := name{"dev1", ""}, name{"dev1", "m"}
	for _, c := range []struct {
		username string
		n        name
		want     bool
	}{
		{hub + "/dev1/?api-version=2021-04-12", dev, true},
		{hub + "/dev1/?api-version=2021-04-12&model-id=dtmi%3Aa%3B1&future=1&flag", dev, true},
		{hub + "/dev1/?", dev, true},
		{hub + "/dev1/", dev, true},
		{hub + "/dev1", dev, true},
		{"DEMO-HUB.azure-devices.net/dev1", dev, true},
		{"dev1", dev, true},
		{hub + "/dev1/api-version=2016-11-14", dev, true}, // older C SDKs, and clients made by hand
		{hub + "/dev1/api-version=2016-11-14&DeviceClientType=iothubclient%2f1.1.14", dev, true},
		{hub + "/dev1/m/api-version=2016-11-14", mod, true},
		{hub + "/dev1/api-version=2016-11-14", name{"dev1", "api-version=2016-11-14"}, true},
		{hub + "/dev1/api-version=1/?api-version=2", name{"dev1", "api-version=1"}, true},
		{hub + "/dev1/api-version=1/?api-version=2", dev, false},
		{hub + "/dev1/api-version=1/m", dev, false},
		{hub + "/dev1/api-version=2016-11-14", mod, false},
		{hub + "/dev1/api-version", dev, false},
		{hub + "/dev1/api-version=1&api-version=2", dev, false},
		{hub + "/dev1/DeviceClientType=c&api-version=1", dev, false},
		{"other.azure-devices.net/dev1/api-version=1", dev, false},
		{hub + "/dev1/m/?api-version=2021-04-12", mod, true},
		{"dev1/m", mod, true},
		{hub + "/dev1/?api-version=2021-04-12", mod, false},
		{hub + "/dev1/m/?api-version=2021-04-12", dev, false},
		{hub + "/dev10/?api-version=2021-04-12", dev, false},
		{hub + "/dev/?api-version=2021-04-12", dev, false},
		{hub + "/DEV1", dev, false},
		{hub + "/dev1//", dev, false},
		{hub + "//dev1", dev, false},
		{hub + "/%64ev1", dev, false},
		{hub + "/dev1/#", dev, false},
		{hub + "/+", dev, false},
		{hub + "/dev1?api-version=1", dev, false},
		{hub + "/dev1/?a=1&a=2", dev, false},
		{hub + "/dev1/?a=%zz", dev, false},
		{hub + "/dev1/?=1", dev, false},
		{hub + "/dev1/?a=1&", dev, false},
		{hub + "\x00/dev1", dev, false},
		{hub + "/dev1/?a=\xff", dev, false},
		{"other.azure-devices.net/dev1", dev, false},
		{"/dev1", dev, false},
		{hub, dev, false},
		{"", dev, false},
		{hub + "/dev1/?a=" + strings.Repeat("x", maxUsername), dev, false},
	} {
		if got := usernameNames(c.username, c.n, isHub); got != c.want {
			t.Errorf("%q names %v: %v, want %v", c.username, c.n, got, c.want)
		}
	}
}

func FuzzUsername(f *testing.F) {
	for _, s := range []string{hub + query, hub + "/dev1" + query, hub + "/dev1/m/?a", hub + "/functions/x", "/", "a/b/?%", "a/b/?a&a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		host, rest, ok := cutHost(s)
		if !ok {
			return
		}
		if host == "" || strings.Contains(host, "/") || host+"/"+rest != s || !utf8.ValidString(s) || strings.Contains(s, "\x00") {
			t.Errorf("%q was read as %q and %q", s, host, rest)
		}
		// Of the names of one or two segments that a user name could mean, a device's is told apart from
		// every other device's, and a module's from every other module's.
		named := 0
		parts := strings.SplitN(rest, "/", 3)
		for _, n := range []name{{parts[0], ""}, {"dev1", ""}, {"other", ""}} {
			if n.device != "" && usernameNames(s, n, func(h string) bool { return h == host }) {
				named++
				if !strings.HasPrefix(rest+"/", n.device+"/") {
					t.Errorf("%q names %v", s, n)
				}
			}
		}
		if named > 1 && parts[0] != "dev1" && parts[0] != "other" {
			t.Errorf("%q names several devices", s)
		}
		if id, ok := functionName(s, host); ok && (strings.ContainsAny(id, "/+#?") || parts[0] != "functions" || parts[1] != id) {
			t.Errorf("%q is the function %q", s, id)
		}
	})
}

func FuzzClientID(f *testing.F) {
	x := newFixture(f)
	bearer := deviceToken("sas1", "sas1")
	for _, s := range []string{"sas1", "sas1/m", "sas10", "dup", "a/b", "", "\x00", "sas1/", "/sas1"} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, clientID, username string) {
		p, r := x.try(creds(clientID, user(username), pass(bearer)))
		if r == nil && (p.Key != "device:sas1" || clientID != "sas1") {
			t.Errorf("%q, %q proved %+v", clientID, username, p)
		}
	})
}
