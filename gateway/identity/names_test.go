package identity

import (
	"strings"
	"testing"
	"unicode/utf8"
)

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
		if got := usernameNames(c.username, hub, c.n); got != c.want {
			t.Errorf("%q names %v: %v, want %v", c.username, c.n, got, c.want)
		}
	}
}

func FuzzUsername(f *testing.F) {
	for _, s := range []string{hub + query, hub + "/dev1" + query, hub + "/dev1/m/?a", hub + "/functions/x", "/", "a/b/?%", "a/b/?a&a"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		u, err := parseUsername(s)
		if err != nil {
			return
		}
		if u.hub == "" || len(u.path) < 1 || len(u.path) > 2 || !utf8.ValidString(s) ||
			strings.ContainsAny(u.hub+strings.Join(u.path, ""), "/+#?\x00") {
			t.Errorf("%q was read as %+v", s, u)
		}
		if !strings.HasPrefix(s, u.hub+"/"+strings.Join(u.path, "/")) {
			t.Errorf("%q was read as %+v", s, u)
		}
		if n := (name{u.path[0], strings.Join(u.path[1:], "")}); !usernameNames(s, u.hub, n) {
			t.Errorf("%q does not name %v", s, n)
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
