package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// look looks at one server over the network, as the daemon would reach it: its name, its port, its
// certificate, and its clock. No credential is sent. Each step takes at most wait.
type look struct {
	wait time.Duration
	now  func() time.Time
}

// at returns a finding for every step that was taken. A step that fails is the last.
func (l look) at(ctx context.Context, r *admin.Remote) []admin.Finding {
	host, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		return []admin.Finding{{Name: r.Name, State: "fail", Text: err.Error(), Next: "correct the setting"}}
	}
	var list []admin.Finding
	add := func(step, state, text, next string) {
		list = append(list, admin.Finding{Name: r.Name + step, State: state, Text: text, Next: next})
	}
	addresses := []string{host}
	if net.ParseIP(host) == nil {
		within, cancel := context.WithTimeout(ctx, l.wait)
		began := time.Now()
		addresses, err = net.DefaultResolver.LookupHost(within, host)
		cancel()
		if err != nil {
			add("-name", "fail", fmt.Sprintf("%s is not found: %v", host, err),
				"look at the name servers of this machine (resolvectl status), and at the spelling")
			return list
		}
		add("-name", "ok", fmt.Sprintf("%s is %s (%d ms)", host, strings.Join(addresses, ", "), time.Since(began).Milliseconds()), "")
	}
	conn, took, err := l.dial(ctx, addresses, port)
	if err != nil {
		add("-reach", "fail", fmt.Sprintf("%s cannot be reached: %v", r.URL, err),
			"see that the server runs there, and that no firewall on the way drops connections to port "+port)
		return list
	}
	defer func() { _ = conn.Close() }()
	add("-reach", "ok", fmt.Sprintf("%s accepts connections (%s, %d ms)", r.URL, conn.RemoteAddr(), took.Milliseconds()), "")
	u, err := url.Parse(r.URL)
	if err != nil || u.Scheme != "https" && u.Scheme != "mqtts" && u.Scheme != "wss" {
		return list
	}
	secure, chain := l.secure(ctx, conn, r)
	list = append(list, chain)
	if chain.State != "fail" && r.Clock {
		list = append(list, l.clock(ctx, secure, r))
	}
	return list
}

// dial connects to the first address that answers. All of them together have the time of one step.
func (l look) dial(ctx context.Context, addresses []string, port string) (net.Conn, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	var all []error
	began := time.Now()
	for i, a := range addresses {
		d := net.Dialer{Timeout: time.Until(began.Add(l.wait)) / time.Duration(len(addresses)-i)}
		conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(a, port))
		if err == nil {
			return conn, time.Since(began), nil
		}
		all = append(all, err)
	}
	return nil, 0, errors.Join(all...)
}

// secure shakes hands and describes the chain that the server shows, verified or not.
func (l look) secure(ctx context.Context, conn net.Conn, r *admin.Remote) (*tls.Conn, admin.Finding) {
	f := admin.Finding{Name: r.Name + "-certificate", State: "fail"}
	var roots *x509.CertPool // nil: the system's
	if r.AuthorityError != "" {
		f.Text, f.Next = "its authority cannot be read: "+r.AuthorityError, "put a PEM file with the authority's certificate there"
		return nil, f
	}
	if r.Authority != "" {
		if roots = x509.NewCertPool(); !roots.AppendCertsFromPEM([]byte(r.Authority)) {
			f.Text, f.Next = "the file of its authority holds no certificate", "name a PEM file with the authority's certificate"
			return nil, f
		}
	}
	ctx, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	var shown []*x509.Certificate
	var distrust error
	t := tls.Client(conn, &tls.Config{
		ServerName: r.ServerName,
		MinVersion: tls.VersionTLS12,
		// The chain is verified below, as crypto/tls does it, so that one that is not trusted is shown, too.
		InsecureSkipVerify: true, //nolint:gosec // see VerifyConnection; and nothing is sent before it is verified
		VerifyConnection: func(s tls.ConnectionState) error {
			shown = s.PeerCertificates
			distrust = l.verify(shown, roots, r.ServerName)
			return nil
		},
	})
	err := t.HandshakeContext(ctx)
	if ctx.Err() != nil {
		err = fmt.Errorf("no answer within %s", l.wait)
	}
	if len(shown) == 0 {
		f.Text, f.Next = fmt.Sprintf("the TLS handshake fails: %v", err), "see that the server speaks TLS 1.2 or 1.3 at this port"
		return nil, f
	}
	f.Text = chainText(shown, l.now())
	if distrust != nil {
		f.Text = fmt.Sprintf("%v; it shows %s", distrust, f.Text)
		f.Next = "name the authority that issued it in the setting's ca, or have the server show a chain for the name " + r.ServerName
		return nil, f
	}
	leaf := tlsfile.Validity{NotBefore: shown[0].NotBefore, NotAfter: shown[0].NotAfter}
	f.State = "ok"
	if phase := leaf.At(l.now()); phase != tlsfile.Good {
		f.State = map[health.Severity]string{health.Notice: "notice", health.Degraded: "warn"}[warnings.EndSeverity(phase)]
		if f.State == "" {
			f.State = "fail"
		}
		f.Next = "tell whoever runs the server that its certificate ends soon"
	}
	return t, f
}

func (l look) verify(chain []*x509.Certificate, roots *x509.CertPool, name string) error {
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{
		DNSName:       name,
		Roots:         roots,
		Intermediates: between,
		CurrentTime:   l.now(),
	})
	return err
}

// chainText is a chain as "CN=a until 2027-01-02 (300 days), issued by CN=b until …".
func chainText(chain []*x509.Certificate, now time.Time) string {
	var parts []string
	for _, c := range chain {
		parts = append(parts, fmt.Sprintf("%s until %s (%s)",
			c.Subject, c.NotAfter.UTC().Format(time.DateOnly), warnings.Left(c.NotAfter.Sub(now))))
	}
	last := chain[len(chain)-1]
	if last.Subject.String() != last.Issuer.String() {
		parts = append(parts, last.Issuer.String())
	}
	return strings.Join(parts, ", issued by ")
}

// clock asks the server for anything, and compares the time in its answer with this machine's.
func (l look) clock(ctx context.Context, conn net.Conn, r *admin.Remote) admin.Finding {
	f := admin.Finding{Name: r.Name + "-clock", State: "warn", Next: "see that the URL is that of the management API"}
	ctx, cancel := context.WithTimeout(ctx, l.wait)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.URL, nil)
	if err != nil {
		f.Text = err.Error()
		return f
	}
	request.Header.Set("User-Agent", "gatehousectl doctor")
	used := false
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			if used {
				return nil, errors.New("the server ended the connection")
			}
			used = true
			return conn, nil
		},
	}
	began := l.now()
	answer, err := transport.RoundTrip(request)
	if err != nil {
		f.Text = fmt.Sprintf("it does not answer an HTTP request: %v", err)
		return f
	}
	_ = answer.Body.Close()
	theirs, err := http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		f.Text = "its answer has no date, by which this machine's clock could be judged"
		return f
	}
	return clockFinding(f.Name, theirs, began.Add(l.now().Sub(began)/2))
}

// clockFinding compares the cloud's time with this machine's. Answers carry whole seconds.
func clockFinding(name string, theirs, ours time.Time) admin.Finding {
	f := admin.Finding{Name: name, State: "ok", Next: offline.SetTheClock}
	ahead := ours.Sub(theirs).Round(time.Second)
	where := "ahead of"
	if ahead < 0 {
		where = "behind"
	}
	f.Text = fmt.Sprintf("this machine's clock is %s %s the cloud's", ahead.Abs(), where)
	switch {
	case ahead.Abs() > time.Hour:
		f.State = "fail"
	case ahead.Abs() > time.Minute:
		f.State = "warn"
	default:
		f.Text, f.Next = fmt.Sprintf("this machine's clock and the cloud's differ by %s", ahead.Abs()), ""
	}
	return f
}
