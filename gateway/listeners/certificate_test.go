package listeners

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
)

const day = 24 * time.Hour

// TestWaitsForItsCertificate: a door without a usable certificate and key does not listen, while
// the other doors do. It opens when the files are there.
func TestWaitsForItsCertificate(t *testing.T) {
	for name, spoil := range map[string]func(s *site){
		"missing":    func(s *site) { _ = os.Remove(filepath.Join(s.dir, "key")) },
		"unreadable": func(s *site) { _ = os.Chmod(filepath.Join(s.dir, "key"), 0o644) }, // refused: everybody may read it
		"no PEM":     func(s *site) { s.put("cert", []byte("nonsense")) },
		"mismatched": func(s *site) { s.issue("other", "key", -day, 365*day) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.issue("cert", "key", -day, 365*day)
			spoil(s)
			d, other := s.add(s.tls("cert", "key")), s.set.Add(Spec{Name: "other", Warning: "other", Open: TCP("127.0.0.1:0")})
			if isOpen(d) || !isOpen(other) {
				t.Fatalf("open: %v, the other: %v", isOpen(d), isOpen(other))
			}
			f := s.last["door-certificate"]
			if !f.Raised || f.Level != Failing || !strings.Contains(f.Text, s.dir) {
				t.Errorf("%+v", f)
			}
			s.round(Poll)
			if isOpen(d) {
				t.Fatal("open although nothing changed")
			}
			_ = os.Remove(filepath.Join(s.dir, "key"))
			s.issue("cert", "key", -day, 365*day)
			s.round(Poll)
			if s.raised("door-certificate") {
				t.Errorf("%+v", s.last["door-certificate"])
			}
			if _, err := s.handshake(d, s.now, nil); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestFilesAreReadEveryMinute: files that cannot be used are read every minute, even if they look
// unchanged.
func TestFilesAreReadEveryMinute(t *testing.T) {
	s := newSite(t)
	s.issue("cert", "key", -day, 365*day)
	key := filepath.Join(s.dir, "key")
	good, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	bad := []byte(strings.Repeat("x", len(good)))
	s.put("key", bad)
	before, err := os.Stat(key)
	if err != nil {
		t.Fatal(err)
	}
	d := s.add(s.tls("cert", "key"))
	s.put("key", good) // the same file, as long as it was
	if err := os.Chtimes(key, before.ModTime(), before.ModTime()); err != nil {
		t.Fatal(err)
	}
	s.round(30 * time.Second)
	if isOpen(d) {
		t.Fatal("the files were read although they look unchanged: nothing is paced")
	}
	s.round(31 * time.Second)
	if !isOpen(d) {
		t.Error("the files were not read for a minute")
	}
}

// TestServedOutOfItsTime: a certificate that is expired or not yet valid by the gateway's clock is
// served, because the client judges it. A renewed one is served without a restart.
func TestServedOutOfItsTime(t *testing.T) {
	for name, c := range map[string]struct {
		from, until time.Duration
		client      time.Duration // what the client's clock says, after start
		says        string
	}{
		"expired":       {-10 * day, -day, -2 * day, "expired on"},
		"not yet valid": {day, 365 * day, 2 * day, "is not valid before"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.issue("cert", "key", c.from, c.until)
			d := s.add(s.tls("cert", "key"))
			if f := s.last["door-certificate"]; !f.Raised || f.Level != Failing || !strings.Contains(f.Text, c.says) {
				t.Errorf("%+v", f)
			}
			shown, err := s.handshake(d, start.Add(c.client), nil)
			if err != nil {
				t.Fatalf("a client whose clock is right is refused: %v", err)
			}
			if _, err := s.handshake(d, start, nil); err == nil {
				t.Error("a client was not shown the time of the certificate")
			}
			s.issue("cert", "key", -day, 365*day)
			s.round(Poll)
			renewed, err := s.handshake(d, start, nil)
			if err != nil || renewed.Equal(shown) || s.raised("door-certificate") {
				t.Errorf("the renewed certificate: %v, %+v", err, s.last["door-certificate"])
			}
		})
	}
}

// TestDaysLeft: the finding becomes worse when 30 days, 7 days and 1 day are left, or the same
// fractions of a shorter validity.
func TestDaysLeft(t *testing.T) {
	s := newSite(t)
	s.issue("cert", "key", 0, 365*day)
	s.issue("short", "short.key", 0, day)
	s.add(s.tls("cert", "key"))
	s.set.Add(Spec{Name: "short", Warning: "short", Open: TCP("127.0.0.1:0"), TLS: s.tls("short", "short.key")})
	for _, c := range []struct {
		name  string
		after time.Duration
		level Level
		says  string // "": nothing
	}{
		{"door", 334 * day, 0, ""},
		{"door", 335 * day, Notice, "in 30 days"},
		{"door", 357 * day, Notice, "in 8 days"},
		{"door", 358 * day, Degraded, "in 7 days"},
		{"door", 363*day + time.Hour, Degraded, "in 1 day,"},
		{"door", 364 * day, Failing, "in 24h0m0s"},
		{"door", 366 * day, Failing, "expired on"},
		{"short", 15 * time.Hour, 0, ""},
		{"short", 16 * time.Hour, Notice, "in 0 days"},
		{"short", 23 * time.Hour, Degraded, "in 0 days"},
		{"short", 23*time.Hour + 50*time.Minute, Failing, "in 10m0s"},
	} {
		s.now = start.Add(c.after)
		s.round(Poll)
		f := s.last[c.name+"-certificate"]
		if f.Raised != (c.says != "") || f.Raised && (f.Level != c.level || !strings.Contains(f.Text, c.says) || f.Next == "") {
			t.Errorf("%s after %v: %+v", c.name, c.after, f)
		}
	}
	list := s.set.Certificates()
	if len(list) != 2 || list[0].Door != "door" || !list[0].NotAfter.Equal(start.Add(365*day)) {
		t.Errorf("%+v", list)
	}
}

// TestUnreadableAuthoritiesRefuse: while the file of client authorities cannot be read, a client
// with a certificate is refused, and a client without one is not.
func TestUnreadableAuthoritiesRefuse(t *testing.T) {
	s := newSite(t)
	s.issue("cert", "key", -day, 365*day)
	c := s.tls("cert", "key")
	c.ClientCA = config.File(filepath.Join(s.dir, "clients"))
	s.put("clients", []byte("nonsense"))
	d := s.add(c)
	if f := s.last["door-client-authorities"]; !f.Raised || f.Level != Failing || !strings.Contains(f.Text, "clients holds no certificate") {
		t.Errorf("%+v", f)
	}
	client, err := s.ca.Client("ups-1", start.Add(-day), 30*day, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.handshake(d, s.now, &client); err == nil {
		t.Error("a client certificate is taken although its authorities cannot be read")
	}
	if _, err := s.handshake(d, s.now, nil); err != nil {
		t.Errorf("a client that proves itself otherwise: %v", err)
	}
	authority, _, err := s.ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	s.put("clients", authority)
	s.round(Poll)
	if _, err := s.handshake(d, s.now, &client); err != nil || s.raised("door-client-authorities") {
		t.Errorf("after the file was mended: %v, %+v", err, s.last["door-client-authorities"])
	}
}

// TestAuthoritiesAreReadBesideABrokenPair: while an expired certificate is served, a renewal that
// fails must not leave the old authorities in force, and must say why it is not taken over.
func TestAuthoritiesAreReadBesideABrokenPair(t *testing.T) {
	s := newSite(t)
	authority, _, err := s.ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	client, err := s.ca.Client("ups-1", start.Add(-day), 30*day, nil)
	if err != nil {
		t.Fatal(err)
	}
	s.issue("cert", "key", -10*day, -day)
	c, valid := s.tls("cert", "key"), start.Add(-2*day)
	c.ClientCA = config.File(filepath.Join(s.dir, "clients"))
	s.put("clients", authority)
	d := s.add(c)
	if _, err := s.handshake(d, valid, &client); err != nil {
		t.Fatal(err)
	}
	s.issue("other", "key", -day, 365*day) // the key of another certificate
	s.put("clients", []byte("nonsense"))
	s.round(Poll)
	if _, err := s.handshake(d, valid, &client); err == nil {
		t.Error("a client certificate is taken although its authorities cannot be read")
	}
	if _, err := s.handshake(d, valid, nil); err != nil {
		t.Errorf("a client that proves itself otherwise: %v", err)
	}
	if f := s.last["door-client-authorities"]; !f.Raised || !strings.Contains(f.Text, "clients holds no certificate") {
		t.Errorf("%+v", f)
	}
	f := s.last["door-certificate"]
	if !f.Raised || !strings.Contains(f.Text, "expired on") || !strings.Contains(f.Text, "private key does not match") {
		t.Errorf("%+v", f)
	}
	s.put("clients", authority) // the authorities can be read again, and the certificate still cannot
	s.round(Poll)
	if _, err := s.handshake(d, valid, &client); err != nil || s.raised("door-client-authorities") {
		t.Errorf("after the authorities were mended: %v, %+v", err, s.last["door-client-authorities"])
	}
	s.issue("cert", "key", -day, 365*day)
	s.round(Poll)
	if _, err := s.handshake(d, start, &client); err != nil || s.raised("door-certificate") {
		t.Errorf("after the pair was mended: %v, %+v", err, s.last["door-certificate"])
	}
}

// TestPrepare: a reload replaces a good certificate by a good one only, and only when takeOver is
// called.
func TestPrepare(t *testing.T) {
	s := newSite(t)
	s.issue("cert", "key", -day, 365*day)
	s.issue("next", "next.key", -2*day, 300*day)
	d := s.add(s.tls("cert", "key"))
	waiting := s.set.Add(Spec{Name: "w", Warning: "w", Open: TCP("127.0.0.1:0"), TLS: s.tls("none", "none.key")})
	first, err := s.handshake(d, s.now, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.set.Prepare(d, s.tls("next", "key")); err == nil {
		t.Error("a pair that does not match replaces a good one")
	}
	if _, err := s.set.Prepare(d, s.tls("absent", "key")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	takeOver, err := s.set.Prepare(d, s.tls("next", "next.key"))
	if err != nil {
		t.Fatal(err)
	}
	if shown, err := s.handshake(d, s.now, nil); err != nil || !shown.Equal(first) {
		t.Errorf("before the reload is in force: %v", err)
	}
	takeOver()
	if shown, err := s.handshake(d, s.now, nil); err != nil || shown.Equal(first) {
		t.Errorf("after the reload: %v", err)
	}
	// A door that waits for its certificate does not make the reload fail. It then waits for the new files.
	takeOver, err = s.set.Prepare(waiting, s.tls("later", "later.key"))
	if err != nil {
		t.Fatal(err)
	}
	takeOver()
	if isOpen(waiting) {
		t.Fatal("open without a certificate")
	}
	s.issue("later", "later.key", -day, 365*day)
	s.round(Poll)
	if _, err := s.handshake(waiting, s.now, nil); err != nil {
		t.Errorf("the files that the reload named: %v", err)
	}
}

// TestPassedSocketWithoutCertificate: a socket that systemd passed listens even if there is no
// certificate. The handshake of a client then fails at once, so that it need not wait.
func TestPassedSocketWithoutCertificate(t *testing.T) {
	s := newSite(t)
	passed := occupy(t, "tcp", "127.0.0.1:0")
	d := s.set.Add(Spec{Name: "mqtts", Warning: "mqtts", Passed: passed, TLS: s.tls("cert", "key")})
	if _, err := s.handshake(d, s.now, nil); err == nil || !s.raised("mqtts-certificate") {
		t.Errorf("a handshake without a certificate: %v, %+v", err, s.last["mqtts-certificate"])
	}
	s.issue("cert", "key", -day, 365*day)
	s.round(Poll)
	if _, err := s.handshake(d, s.now, nil); err != nil {
		t.Error(err)
	}
}
