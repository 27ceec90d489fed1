package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device"
	credx509 "github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/listeners"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// door is a daemon with what proves clients, and nothing else: a site with a certificate authority,
// the device "victim" with a certificate of it, and "other" with a thumbprint of its own.
type door struct {
	*daemon
	victim credx509.Pair
	data   device.Data
}

func newDoor(t *testing.T) *door {
	t.Helper()
	s, err := store.Open(t.TempDir(), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	start := time.Now().Add(-time.Hour)
	root, err := credx509.NewCA("root", start, 100*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	w := &door{daemon: &daemon{
		cfg:     config.Default(),
		log:     slog.New(slog.DiscardHandler),
		reports: reports{health: health.New(nil)},
		core:    core{store: s},
	}}
	if w.victim, err = root.Client("victim", start, 100*time.Hour, nil); err != nil {
		t.Fatal(err)
	}
	floor := space.ID{1}
	w.data = device.Data{
		Spaces: []device.Space{{ID: floor}},
		CAs:    []device.CA{{ID: space.ID{2}, Path: space.Root.Join(floor), DER: root.Cert.Raw}},
		Devices: []device.Device{
			{ID: space.ID{10}, HubID: "victim", Space: floor, Status: device.Active, Auth: device.Auth{Kind: device.AuthCA}},
			{ID: space.ID{11}, HubID: "other", Space: floor, Status: device.Active, Auth: thumbprint(device.Thumbprint{1})},
		},
	}
	d := w.daemon
	d.cfg.Instance.Hub.Host = "hub.example.net"
	d.clock = offline.NewClock(offline.ClockOptions{System: time.Now, Mark: start, Built: start})
	d.policy = policy.New(policy.Options{Effects: policyEffects{d}, Mark: func() (time.Time, uint64) { return d.clock.Mark(), 0 }, Log: d.log})
	w.adopt()
	if err := d.buildIdentity(); err != nil {
		t.Fatal(err)
	}
	return w
}

func thumbprint(p device.Thumbprint) device.Auth {
	return device.Auth{Kind: device.AuthSelfSigned, Thumbprints: []device.Thumbprint{p}}
}

func (w *door) adopt() { w.policy.Adopt(generation.Full{Registry: w.data}) }

func (w *door) connect(t *testing.T, username string) (*principal.Principal, error) {
	return w.identity.Authenticate(t.Context(), &principal.Credentials{
		Listener: "mqtts",
		Remote:   netip.MustParseAddrPort("192.0.2.1:1"),
		PeerUID:  -1,
		TLS:      &tls.ConnectionState{PeerCertificates: []*x509.Certificate{w.victim.Cert}},
		ClientID: "victim",
		Username: username,
		HasUser:  username != "",
	})
}

// The thumbprint of a device's certificate, entered in another record, refuses and ends nobody. Health
// names both claims: at once for a device that is connected, and when one connects.
func TestHealthNamesSharedCertificates(t *testing.T) {
	w := newDoor(t)
	live, err := w.connect(t, "")
	if err != nil || warned(w.daemon, "certificate-shared") != "" {
		t.Fatal(err, w.health.Report())
	}
	w.data.Devices[1].Auth = thumbprint(credx509.Thumbprint(w.victim.Cert))
	w.adopt()
	if r := w.identity.Still(live); r != nil {
		t.Errorf("the live session ends: %v", r)
	}
	named := func() bool {
		text := warned(w.daemon, "certificate-shared")
		return strings.Contains(text, `"victim"`) && strings.Contains(text, (space.ID{11}).String())
	}
	if !named() {
		t.Errorf("%+v", w.health.Report())
	}
	w.data.Devices[1].Auth = thumbprint(device.Thumbprint{1})
	w.adopt()
	if len(w.health.Report().Warnings) > 0 {
		t.Errorf("afterwards: %+v", w.health.Report())
	}
	w.data.Devices[1].Auth = thumbprint(credx509.Thumbprint(w.victim.Cert))
	w.adopt()
	if _, err := w.connect(t, ""); err != nil || !named() {
		t.Errorf("comes again: %v, %+v", err, w.health.Report())
	}
	// Two thumbprints are found in the registry itself.
	w.data.Devices[0].Auth = w.data.Devices[1].Auth
	w.adopt()
	if text := warned(w.daemon, "thumbprint-shared"); !strings.Contains(text, (space.ID{10}).String()) ||
		!strings.Contains(text, (space.ID{11}).String()) || warned(w.daemon, "topology-problems") != "" {
		t.Errorf("%+v", w.health.Report())
	}
}

// A device that has the gateway as its HostName begins its user name with it. The name is compared
// with the certificate that its listener serves.
func TestUserNameWithTheListenersOwnName(t *testing.T) {
	w := newDoor(t)
	start := time.Now().Add(-time.Hour)
	ca, err := credx509.NewCA("servers", start, 100*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := ca.Server(start, 100*time.Hour, "gate.example.com")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	chain, key, err := pair.PEM()
	if err != nil {
		t.Fatal(err)
	}
	cert, secret := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, text := range map[string][]byte{cert: chain, secret: key} {
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	own := "gate.example.com:8883/victim/?api-version=2021-04-12"
	if _, err := w.connect(t, own); err == nil {
		t.Error("accepted before there is a listener")
	}
	all := listeners.New(time.Now, func([]listeners.Finding) {})
	w.doors.byName = map[string]*listeners.Door{"mqtts": all.Add(listeners.Spec{
		Name:    "listener mqtts",
		Address: "127.0.0.1:0",
		Open:    listeners.TCP("127.0.0.1:0"),
		TLS:     &config.TLS{Cert: config.File(cert), Key: config.SecretFile(secret)},
	})}
	defer w.doors.byName["mqtts"].Close()
	if _, err := w.connect(t, own); err != nil {
		t.Error(err)
	}
	if _, err := w.connect(t, "other.example.com/victim/?api-version=2021-04-12"); err == nil {
		t.Error("another name is accepted")
	}
}
