package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

var mendAsserts = [][2]string{
	{"1", "a listener without a good certificate stops nothing else, and health names it"},
	{"2", "a certificate that is mended while the daemon runs is served, without a restart"},
}

// mend shows a listener whose certificate is missing, then has ended, then is good, then is renewed, while
// the same process runs.
func mend(ctx context.Context, bin, seedFile string, keep bool) error {
	return stage(ctx, bin, seedFile, keep, performance{
		title:   "Gatehouse: a certificate is mended while the daemon runs",
		asserts: mendAsserts,
		spoil:   ownCertificate,
		ready: func(ctx context.Context, sys *system) error {
			return sys.Get(ctx, sys.page("/v1/status"), nil) // /healthz answers 503 for the listener
		},
		checks: []func(*trial){(*trial).mended},
	})
}

// ownCertificate gives the listener certificate files of its own, which do not exist.
func ownCertificate(s *site.Site) error {
	text, err := os.ReadFile(s.File("gatehoused.yaml"))
	if err != nil {
		return err
	}
	const shared, own = "{cert: pki/server.pem, key: pki/server.key}", "{cert: pki/mqtts.pem, key: pki/mqtts.key}"
	if strings.Count(string(text), shared) != 1 {
		return fmt.Errorf("gatehoused.yaml does not have %q once", shared)
	}
	return os.WriteFile(s.File("gatehoused.yaml"), []byte(strings.Replace(string(text), shared, own, 1)), 0o600)
}

// mended are the checks of mend.
func (t *trial) mended() {
	pid := t.sys.gateway.PID()
	var live *client
	defer func() { live.close() }()
	t.f.check("1", "the files are missing: the daemon runs, and health names the listener", func() (string, error) {
		return t.refusing("no such file")
	})
	t.f.check("1", "a certificate comes that has ended: clients refuse it, and health says so", func() (string, error) {
		if err := t.issue(-time.Minute); err != nil {
			return "", err
		}
		return t.refusing("expired", "ended")
	})
	t.f.check("2", "a good one takes its place: a device connects and publishes, no signal, no restart", func() (string, error) {
		if err := t.issue(time.Hour); err != nil {
			return "", err
		}
		began := time.Now()
		var err error
		if live, err = t.connects("ups-1"); err != nil {
			return "", err
		}
		return fmt.Sprintf("after %.1f s", time.Since(began).Seconds()), t.samePID(pid)
	})
	t.f.check("2", "it is renewed in good time, and SIGHUP: new connections are shown the new one", func() (string, error) {
		old := t.shown
		if err := errors.Join(t.issue(72*time.Hour), t.sys.gateway.Send(syscall.SIGHUP)); err != nil {
			return "", err
		}
		began := time.Now()
		err := t.eventually(15*time.Second, func(context.Context) error {
			c, err := t.connects("door-1")
			if err != nil {
				return err
			}
			c.close()
			if t.shown == old {
				return errors.New("the old certificate is still shown")
			}
			return nil
		})
		return fmt.Sprintf("after %.1f s", time.Since(began).Seconds()), errors.Join(err, t.samePID(pid))
	})
	t.f.check("2", "the connection of before the renewal was never lost", func() (string, error) {
		if live == nil {
			return "", errors.New("it never was")
		}
		return "", t.publish(live, site.Telemetry("ups-1", sensorOf("ups-1")), `{"still":"here"}`)
	})
}

// issue gives the listener a certificate that is valid until so long from now.
func (t *trial) issue(left time.Duration) error {
	const life = 100 * time.Hour
	p, err := t.site.CA.Server(time.Now().Add(left-life), life, "localhost", "127.0.0.1")
	if err != nil {
		return err
	}
	return site.WritePair(p, t.site.PKI("mqtts.pem"), t.site.PKI("mqtts.key"))
}

// refusing waits until a device cannot connect, and health says of the listener one of the words.
func (t *trial) refusing(words ...string) (string, error) {
	var said string
	err := t.eventually(15*time.Second, func(ctx context.Context) error {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		if c, err := connect(attempt, endpointOf(t.site, "door-1")); err == nil {
			c.close()
			return errors.New("a device connects")
		}
		var st admin.Status
		if err := t.sys.status(ctx, &st); err != nil {
			return err
		}
		for _, w := range st.Health.Warnings {
			for _, word := range words {
				if strings.HasPrefix(w.Name, "listener-mqtts") && strings.Contains(w.Text, word) {
					said = w.Name + ": " + w.Text
					return nil
				}
			}
		}
		return fmt.Errorf("health says %+v", st.Health.Warnings)
	})
	return clip(said, 90), err
}

// connects waits until a device connects to the listener, whose certificate becomes t.shown, and its
// publish is acknowledged.
func (t *trial) connects(id string) (c *client, err error) {
	e := endpointOf(t.site, id)
	e.tls.VerifyConnection = func(s tls.ConnectionState) error {
		t.shown = s.PeerCertificates[0].SerialNumber.String()
		return nil
	}
	err = t.eventually(15*time.Second, func(ctx context.Context) error {
		attempt, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		var err error
		c, err = connect(attempt, e)
		return err
	})
	if err != nil {
		return nil, err
	}
	return c, t.publish(c, site.Telemetry(id, sensorOf(id)), `{"mended":true}`)
}

func (t *trial) samePID(pid int) error {
	if now := t.sys.gateway.PID(); now != pid || !t.sys.gateway.Running() {
		return fmt.Errorf("the daemon was process %d and is %d, or does not run", pid, now)
	}
	return nil
}
