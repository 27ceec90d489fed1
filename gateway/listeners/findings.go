package listeners

import (
	"fmt"
	"time"

	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// Finding is one condition of a door that can be wrong; Raised says that it is. Each
// condition always has the same name.
type Finding struct {
	Name   string
	Raised bool
	Level  Level
	Text   string
	Next   string // what an operator can do
}

// Certificate is the certificate that a door serves.
type Certificate struct {
	Door string // Spec.Warning
	tlsfile.Validity
}

// Certificates lists the certificates that are served, in the order of the doors.
func (s *Set) Certificates() []Certificate {
	var list []Certificate
	for _, d := range s.doors {
		if cert := d.state(); cert.served != (tlsfile.Validity{}) {
			list = append(list, Certificate{Door: d.spec.Warning, Validity: cert.served})
		}
	}
	return list
}

// Findings lists every condition of every door.
func (s *Set) Findings() []Finding {
	now := s.now()
	var list []Finding
	for _, d := range s.doors {
		list = append(list, d.closedFinding())
		if d.spec.TLS != nil {
			cert := d.state()
			list = append(list, d.certificateFinding(&cert, now), d.clientsFinding(&cert))
		}
	}
	return list
}

// closedFinding says that a door's socket cannot be opened. It is not raised for a door that
// waits for its certificate, because that has a finding of its own (certificateFinding).
func (d *Door) closedFinding() Finding {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := Finding{Name: d.spec.Warning, Level: d.spec.Level, Raised: d.socket == nil && d.failed != nil}
	if f.Raised {
		f.Text = fmt.Sprintf("%s does not listen: %v", d.spec.Name, d.failed)
		f.Next = "everything else runs; it is tried again every few seconds"
	}
	return f
}

// certificateFinding says that there is no certificate to serve, or that the served one
// has expired, is not yet valid or will soon expire.
func (d *Door) certificateFinding(c *certificate, now time.Time) Finding {
	f := Finding{Name: d.spec.Warning + "-certificate", Raised: true, Level: Failing}
	if c.served == (tlsfile.Validity{}) {
		f.Text = fmt.Sprintf("%s waits for its certificate: %v", d.spec.Name, c.pair)
		f.Next = "put a PEM certificate chain and the key that belongs to it there: they are read again when they change, " +
			"and every minute; what systemd hands over (LoadCredential=) is copied at a start only: systemctl restart gatehoused"
		return f
	}
	until := c.served.NotAfter.UTC().Format(time.RFC3339)
	left := c.served.Left(now).Round(time.Minute)
	renew := "renew it, and systemctl reload gatehoused"
	switch c.served.At(now) {
	case tlsfile.NotYetValid:
		f.Text = fmt.Sprintf("the certificate of %s is not valid before %s; it is served, and clients may refuse it",
			d.spec.Name, c.served.NotBefore.UTC().Format(time.RFC3339))
		f.Next = "check this machine's clock (timedatectl), or wait"
	case tlsfile.Expired:
		f.Text = fmt.Sprintf("the certificate of %s expired on %s; it is served, and clients may refuse it", d.spec.Name, until)
		f.Next = "renew it: it is taken over when the files change; if it is not expired, check this machine's clock (timedatectl)"
	case tlsfile.LastDay:
		f.Text, f.Next = fmt.Sprintf("the certificate of %s expires in %s, on %s", d.spec.Name, left, until), renew
	case tlsfile.LastWeek:
		f.Level, f.Text, f.Next = Degraded, d.daysLeft(left, until), renew
	case tlsfile.LastMonth:
		f.Level, f.Text, f.Next = Notice, d.daysLeft(left, until), renew
	case tlsfile.Good:
		f.Raised = false
	}
	if f.Raised && c.pair != nil {
		f.Text += fmt.Sprintf("; the files that are there now are not taken over: %v", c.pair)
	}
	return f
}

func (d *Door) daysLeft(left time.Duration, until string) string {
	days := fmt.Sprintf("%d days", int(left/(24*time.Hour)))
	if days == "1 days" {
		days = "1 day"
	}
	return fmt.Sprintf("the certificate of %s expires in %s, on %s", d.spec.Name, days, until)
}

// clientsFinding says that client certificates are refused, because the file of their
// authorities cannot be used.
func (d *Door) clientsFinding(c *certificate) Finding {
	f := Finding{Name: d.spec.Warning + "-client-authorities", Level: Failing, Raised: c.clients != nil}
	if f.Raised {
		f.Text = fmt.Sprintf("%s refuses every client certificate: %v", d.spec.Name, c.clients)
		f.Next = "name a PEM file with the authorities' certificates, or remove clientCA: it is read again when it changes"
	}
	return f
}
