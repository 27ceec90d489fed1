package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// remote is a server at the address of an HTTPS server whose authority is ca.
func remote(s *httptest.Server, ca []byte) *admin.Remote {
	return &admin.Remote{
		Name:       "cloud.management.url",
		URL:        s.URL,
		Address:    s.Listener.Addr().String(),
		ServerName: "cloud.example",
		Authority:  string(ca),
		Clock:      true,
	}
}

// cloud is an HTTPS server with a certificate for cloud.example, and the PEM text of its authority.
func cloud(t *testing.T, life time.Duration, date time.Time) (*httptest.Server, []byte) {
	t.Helper()
	from := time.Now().Add(-365 * 24 * time.Hour)
	ca, err := credx509.NewCA("demo ca", from, 1000*24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := ca.Server(from, time.Until(from)*-1+life, "cloud.example")
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if len(r.Header["Authorization"]) > 0 || r.Method != http.MethodGet {
			t.Errorf("the look sent %s %v", r.Method, r.Header)
		}
		w.Header().Set("Date", date.UTC().Format(http.TimeFormat))
		w.WriteHeader(http.StatusUnauthorized)
	}))
	s.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{leaf.Cert.Raw, ca.Cert.Raw}, PrivateKey: leaf.Key}}}
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // it speaks of the looks that end early
	s.StartTLS()
	t.Cleanup(s.Close)
	return s, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Cert.Raw})
}

// stateOf is the state and text of the finding of a step, "" if there is none.
func stateOf(list []admin.Finding, step string) (state, text string) {
	for _, f := range list {
		if strings.HasSuffix(f.Name, step) {
			return f.State, f.Text + " | " + f.Next
		}
	}
	return "", ""
}

var patient = look{wait: 20 * time.Second, now: time.Now}

func TestLookAtTheCloud(t *testing.T) {
	day := 24 * time.Hour
	for _, c := range []struct {
		name          string
		life, ahead   time.Duration // of the certificate, and of this machine's clock
		change        func(*admin.Remote)
		chain, clock  string // states; "": not looked at
		says, clockIs string
	}{
		{name: "well", life: 300*day + time.Hour, chain: "ok", clock: "ok", says: "cloud.example until", clockIs: "differ by"},
		{name: "20 days left", life: 20 * day, chain: "notice", clock: "ok", says: "ends soon"},
		{name: "5 days left", life: 5 * day, chain: "warn", clock: "ok", says: "ends soon"},
		{name: "hours left", life: 5 * time.Hour, chain: "fail", says: "hours"},
		{name: "expired", life: -day, chain: "fail", says: "expired"},
		{name: "a clock behind", life: 300 * day, ahead: -10 * time.Minute, chain: "ok", clock: "warn", clockIs: "behind the cloud's"},
		{name: "a clock ahead", life: 300 * day, ahead: 3 * time.Hour, chain: "ok", clock: "fail", clockIs: "ahead of the cloud's"},
		{name: "the system's authorities", life: 300 * day,
			change: func(r *admin.Remote) { r.Authority = "" }, chain: "fail", says: "issued by CN=demo ca"},
		{name: "another name", life: 300 * day,
			change: func(r *admin.Remote) { r.ServerName = "other.example" }, chain: "fail", says: "other.example"},
		{name: "no authority file", life: 300 * day,
			change: func(r *admin.Remote) { r.AuthorityError = "no such file" }, chain: "fail", says: "no such file"},
		{name: "an empty authority file", life: 300 * day,
			change: func(r *admin.Remote) { r.Authority = "x" }, chain: "fail", says: "holds no certificate"},
		{name: "not the cloud", life: 300 * day, change: func(r *admin.Remote) { r.Clock = false }, chain: "ok"},
	} {
		s, ca := cloud(t, c.life, time.Now().Add(-c.ahead))
		r := remote(s, ca)
		if c.change != nil {
			c.change(r)
		}
		list := patient.at(t.Context(), r)
		if state, text := stateOf(list, "-reach"); state != "ok" {
			t.Errorf("%s: reach %s %s", c.name, state, text)
		}
		if state, text := stateOf(list, "-certificate"); state != c.chain || !strings.Contains(text, c.says) {
			t.Errorf("%s: certificate %s %s, want %s %q", c.name, state, text, c.chain, c.says)
		}
		if state, text := stateOf(list, "-clock"); state != c.clock || !strings.Contains(text, c.clockIs) {
			t.Errorf("%s: clock %s %s, want %s %q", c.name, state, text, c.clock, c.clockIs)
		}
	}
}

// A server that is not there, one that says nothing, and one that speaks something else end a look within
// its time, and each is told apart.
func TestLookAtWhatIsNotThere(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := l.Addr().String() // the kernel accepts, and nobody answers
	r := &admin.Remote{Name: "upstream", URL: "mqtts://hub.example", Address: silent, ServerName: "hub.example"}
	list := look{wait: 300 * time.Millisecond, now: time.Now}.at(t.Context(), r)
	if state, text := stateOf(list, "-certificate"); state != "fail" || !strings.Contains(text, "TLS handshake fails") {
		t.Errorf("a silent server: %+v", list)
	} else if _, reach := stateOf(list, "-reach"); !strings.Contains(reach, "accepts connections") {
		t.Errorf("%s, %s", text, reach)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	list = patient.at(t.Context(), r)
	if state, text := stateOf(list, "-reach"); state != "fail" || !strings.Contains(text, "refused") || len(list) != 1 {
		t.Errorf("a closed port: %+v", list)
	}
	r.Address = "no-such-host.invalid:8883"
	list = patient.at(t.Context(), r)
	if state, text := stateOf(list, "-name"); state != "fail" || !strings.Contains(text, "no-such-host.invalid") || len(list) != 1 {
		t.Errorf("a name that nobody knows: %+v", list)
	}
	plain := httptest.NewServer(http.NotFoundHandler())
	defer plain.Close()
	r.Address = plain.Listener.Addr().String()
	if state, _ := stateOf(patient.at(t.Context(), r), "-certificate"); state != "fail" {
		t.Error("a server without TLS passes for one with it")
	}
}

func TestChainText(t *testing.T) {
	s, ca := cloud(t, 48*time.Hour, time.Now())
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(ca)
	conn, err := tls.Dial("tcp", s.Listener.Addr().String(), &tls.Config{RootCAs: pool, ServerName: "cloud.example"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	got := chainText(conn.ConnectionState().PeerCertificates[:1], time.Now())
	if !strings.Contains(got, "hours), issued by CN=demo ca") {
		t.Errorf("a chain without its root: %q", got)
	}
}

func TestNagiosLine(t *testing.T) {
	f := func(name, state, text string) admin.Finding {
		return admin.Finding{Name: name, State: state, Text: text}
	}
	for _, c := range []struct {
		list []admin.Finding
		want string
		code int
	}{
		{[]admin.Finding{f("a", "ok", ""), f("b", "notice", "x")}, "GATEHOUSE OK - 2 looks, nothing wrong | failed=0 warnings=0 notices=1", 0},
		{[]admin.Finding{f("a", "warn", "is \x1b[31mold | bad\n"), f("b", "ok", "")},
			`GATEHOUSE WARNING - 0 failed, 1 warnings: a (is \x1b[31mold / bad\n) | failed=0 warnings=1 notices=0`, 1},
		{[]admin.Finding{f("a", "warn", "t"), f("b", "fail", "down"), f("c", "warn", "t"), f("c", "warn", "u")},
			"GATEHOUSE CRITICAL - 1 failed, 3 warnings: b (down), a, c | failed=1 warnings=3 notices=0", 2},
	} {
		if got := nagiosLine(c.list); got != c.want || nagiosCodes[worst(c.list)] != c.code {
			t.Errorf("%s, code %d; want %s, code %d", got, nagiosCodes[worst(c.list)], c.want, c.code)
		}
	}
	long := nagiosLine([]admin.Finding{f("a", "fail", strings.Repeat("x", 5000))})
	if len(long) > 400 || strings.Count(long, "\n") > 0 {
		t.Errorf("a line of %d bytes", len(long))
	}
}
