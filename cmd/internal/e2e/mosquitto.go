package e2e

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

// Peer is how somebody connects with mosquitto's own clients.
type Peer struct {
	ID, User, Password string
	Cert               string // name in pki
	V5                 bool
	Args               []string // further arguments
}

// Device is a device of the building with its own credential.
func (g *Gateway) Device(id string) Peer {
	p := Peer{ID: id, User: site.Username(id)}
	if token, ok := g.House.SAS(id); ok {
		p.Password = token
	} else {
		p.Cert = id
	}
	return p
}

// Person is a user or a service principal with a bearer token.
func (g *Gateway) Person(t testing.TB, name, clientID string) Peer {
	t.Helper()
	return Peer{ID: clientID, User: name, Password: g.House.Token(t, name)}
}

// Five is the same peer with MQTT 5.
func (p Peer) Five() Peer { p.V5 = true; return p }

// With adds arguments.
func (p Peer) With(args ...string) Peer {
	p.Args = append(p.Args[:len(p.Args):len(p.Args)], args...)
	return p
}

func (g *Gateway) args(p Peer) []string {
	a := []string{"-h", "localhost", "-p", fmt.Sprint(g.MQTT), "--cafile", g.House.PKI("ca.pem"), "-i", p.ID, "-q", "1"}
	if p.User != "" {
		a = append(a, "-u", p.User)
	}
	if p.Password != "" {
		a = append(a, "-P", p.Password)
	}
	if p.Cert != "" {
		a = append(a, "--cert", g.House.PKI(p.Cert+".pem"), "--key", g.House.PKI(p.Cert+".key"))
	}
	if p.V5 {
		a = append(a, "-V", "5")
	}
	return append(a, p.Args...)
}

// Pub publishes with QoS 1 and waits for the acknowledgement: mosquitto_pub
// says so by its exit code, and for MQTT 5 in words. A publish that is neither
// acknowledged nor refused fails the test: silence must not pass for a refusal.
func (g *Gateway) Pub(p Peer, topic, payload string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, "mosquitto_pub", append(g.args(p), "-t", topic, "-m", payload)...).CombinedOutput()
	if ctx.Err() != nil {
		if g.tb != nil {
			g.tb.Errorf("%s publishes to %s: neither acknowledged nor refused within %v", p.ID, topic, Patience)
		}
		return string(out), ctx.Err()
	}
	if err == nil && strings.Contains(string(out), "failed:") {
		err = fmt.Errorf("refused: %s", strings.TrimSpace(string(out)))
	}
	return string(out), err
}

// MustPub publishes and fails the test if that is not acknowledged.
func (g *Gateway) MustPub(t testing.TB, p Peer, topic, payload string) {
	t.Helper()
	if out, err := g.Pub(p, topic, payload); err != nil {
		t.Fatalf("%s publishes to %s: %v\n%s", p.ID, topic, err, out)
	}
}

// Sub subscribes and waits for the SUBACK, which must grant everything. Each message becomes the line
// "MSG topic qos retained payload".
func (g *Gateway) Sub(t testing.TB, p Peer, filters ...string) *Process {
	t.Helper()
	s := g.Ask(t, p, filters...)
	_, codes, _ := strings.Cut(s.Line(t, "Subscribed (mid:"), "): ")
	for code := range strings.SplitSeq(codes, ", ") {
		if len(code) > 1 { // 128 and above
			t.Fatalf("%s subscribes to %v: %s", p.ID, filters, codes)
		}
	}
	return s
}

// Ask subscribes and waits for nothing.
func (g *Gateway) Ask(t testing.TB, p Peer, filters ...string) *Process {
	t.Helper()
	args := append([]string{"-oL", "mosquitto_sub"}, g.args(p)...)
	args = append(args, "-d", "-F", "MSG %t %q %r %p")
	for _, f := range filters {
		args = append(args, "-t", f)
	}
	return Start(t, nil, "stdbuf", args...)
}

// Messages are the payloads that a subscriber has received, in order.
func (p *Process) Messages() []string {
	var list []string
	for _, line := range p.Lines() {
		if f := strings.SplitN(line, " ", 5); f[0] == "MSG" && len(f) == 5 {
			list = append(list, f[4])
		}
	}
	return list
}
