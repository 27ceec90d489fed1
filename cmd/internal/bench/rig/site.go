package rig

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// Site is a generated building: every device may connect and speak for itself by
// one assignment of its own, and nothing else is there.
type Site struct {
	*site.Site
	Programs
	Clients []load.Client // one for each device
	Cloud   *Program
	Gateway *Program

	bin   string
	plain int // port
}

// Options of New.
type Options struct {
	Bin          string // the directory of gatehoused and managementd
	Devices      int
	Certificates bool   // the devices prove themselves by certificates; otherwise by keys
	Sections     string // further sections of the gateway's configuration
	// RequestsPerSecond is what the management API answers; 0: its default.
	RequestsPerSecond int
}

// New makes a site in a folder of its own; Remove removes it.
func New(o Options) (*Site, error) {
	dir, err := os.MkdirTemp("", "ghb")
	if err != nil {
		return nil, err
	}
	s := &Site{bin: o.Bin}
	if err := s.prepare(dir, o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// Bin is the directory of the daemons.
func (s *Site) Bin() string { return s.bin }

// Remove ends the programs and removes the folder.
func (s *Site) Remove() {
	s.Close()
	_ = os.RemoveAll(s.Dir)
}

func (s *Site) prepare(dir string, o Options) error {
	var ports site.Ports
	var err error
	for _, port := range []*int{&ports.MQTT, &ports.Page, &ports.API, &s.plain} {
		if *port, err = freeport.Get(); err != nil {
			return err
		}
	}
	credentials, err := s.keys(o)
	if err != nil {
		return err
	}
	seed := filepath.Join(dir, "topology.yaml")
	if err := os.WriteFile(seed, []byte(topology(o)), 0o600); err != nil {
		return err
	}
	if s.Site, err = site.Prepare(site.Options{
		Dir:               dir,
		Seed:              seed,
		Ports:             ports,
		Credentials:       credentials,
		RequestsPerSecond: o.RequestsPerSecond,
	}); err != nil {
		return err
	}
	text := s.GatewayConfig(site.Daemon{
		MQTT:      ports.MQTT,
		Page:      ports.Page,
		Listeners: fmt.Sprintf("  - {name: mqtt, address: \"127.0.0.1:%d\"}", s.plain),
		State:     "{dir: state}",
		LogFormat: "json",
		Sections:  o.Sections,
	})
	return os.WriteFile(s.File("gatehoused.yaml"), []byte(text), 0o600)
}

// Role is the id of the role that each device holds: Gateway Device.
const Role = model.GatewayDeviceRole

// DeviceID is the hub device id of the n-th device.
func DeviceID(n int) string { return fmt.Sprintf("bench-%05d", n) }

// AssignmentID is the id of the n-th device's assignment, RecordID that of its record.
func AssignmentID(n int) string { return fmt.Sprintf("a5510000-0000-4000-8000-%012d", 1000+n) }

// RecordID is the id of the n-th device's record.
func RecordID(n int) string { return fmt.Sprintf("de71ce00-0000-4000-8000-%012d", 1+n) }

// keys makes the clients, and returns what the cloud has to know of them.
func (s *Site) keys(o Options) (string, error) {
	var b strings.Builder
	b.WriteString("devices:\n")
	now := time.Now()
	for i := range o.Devices {
		c := load.Client{ID: DeviceID(i), User: site.Username(DeviceID(i))}
		if o.Certificates {
			pair, err := x509.NewSelfSigned(c.ID, now.Add(-time.Hour), 24*time.Hour)
			if err != nil {
				return "", err
			}
			c.Cert = &tls.Certificate{Certificate: [][]byte{pair.Cert.Raw}, PrivateKey: pair.Key, Leaf: pair.Cert}
			print := x509.Thumbprint(pair.Cert)
			fmt.Fprintf(&b, "  - {id: %s, thumbprints: [%x]}\n", c.ID, print[:])
		} else {
			key := fmt.Appendf(nil, "%032d", i)
			c.Password = sas.Issue(sas.Device(site.HubHost, c.ID), key, now.Add(12*time.Hour))
			fmt.Fprintf(&b, "  - {id: %s, primaryKey: %s}\n", c.ID, base64.StdEncoding.EncodeToString(key))
		}
		s.Clients = append(s.Clients, c)
	}
	return b.String(), nil
}

func topology(o Options) string {
	var t, assignments strings.Builder
	t.WriteString(`homeTenant: 7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001
spaces:
  - key: campus
    id: 5bace000-0000-4000-8000-000000000001
    name: Campus
    children:
      - {key: house, id: 5bace000-0000-4000-8000-000000000010, name: House}
servicePrincipals:
  - {id: 5e4c1ce0-0000-4000-8000-000000000001, name: gatehoused}
users:
  - {id: a5e40000-0000-4000-8000-000000000001, upn: alice@harbour.example, space: house}
devices:
`)
	auth := "sas"
	if o.Certificates {
		auth = "selfSigned"
	}
	for i := range o.Devices {
		fmt.Fprintf(&t, "  - {id: %s, deviceId: %s, hardwareId: %012X, space: house, auth: %s}\n", RecordID(i), DeviceID(i), i+1, auth)
		fmt.Fprintf(&assignments, "  - {id: %s, role: GatewayDevice, at: house, who: {device: %s}}\n", AssignmentID(i), DeviceID(i))
	}
	t.WriteString(`assignments:
  - {id: a5510000-0000-4000-8000-000000000001, role: SupportSpecialist, who: {servicePrincipal: gatehoused}, at: house}
  - {id: a5510000-0000-4000-8000-000000000002, role: TokenAdministrator, who: {servicePrincipal: gatehoused}, at: house}
  - {id: a5510000-0000-4000-8000-000000000003, role: SpaceAdministrator, who: {user: alice@harbour.example}, at: /}
`)
	return t.String() + assignments.String()
}

// StartCloud starts managementd, which fills its store at the first start.
func (s *Site) StartCloud(ctx context.Context) (err error) {
	if s.Cloud, err = s.Start(filepath.Join(s.bin, "managementd"), "-config", s.CloudFile()); err != nil {
		return err
	}
	return s.Cloud.Listens(ctx, s.Ports.API)
}

// StartGateway starts gatehoused and waits until it has heard from the cloud.
func (s *Site) StartGateway(ctx context.Context) (err error) {
	if s.Gateway, err = s.Start(filepath.Join(s.bin, "gatehoused"), "-config", s.File("gatehoused.yaml")); err != nil {
		return err
	}
	return s.Gateway.Until(ctx, func(ctx context.Context) error {
		st, err := s.Status(ctx)
		if err == nil && (st.Cache.Stage != "fresh" || st.Cache.Devices < len(s.Clients)) {
			err = fmt.Errorf("its policy is not there yet: %d devices, %s", st.Cache.Devices, st.Cache.Stage)
		}
		return err
	})
}

// Status is what the gateway says of itself.
func (s *Site) Status(ctx context.Context) (st admin.Status, err error) {
	err = s.Get(ctx, fmt.Sprintf("http://127.0.0.1:%d/v1/status", s.Ports.Page), &st)
	return st, err
}

// Target is how the gateway is reached. Clients come from many addresses, because
// one address may make 50 new connections a second.
func (s *Site) Target(secure bool) load.Target {
	t := load.Target{
		Network:   "tcp",
		Address:   fmt.Sprintf("127.0.0.1:%d", s.plain),
		Level:     4,
		From:      netip.MustParsePrefix("127.1.0.0/16"),
		Timeout:   30 * time.Second,
		KeepAlive: 10 * time.Minute,
	}
	if secure {
		t.Address = fmt.Sprintf("127.0.0.1:%d", s.Ports.MQTT)
		t.TLS = &tls.Config{RootCAs: s.Pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	}
	return t
}
