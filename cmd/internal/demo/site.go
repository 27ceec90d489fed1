package main

import (
	"crypto/rand"
	"crypto/tls"
	stdx509 "crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/sync/management/seed"

	"github.com/gatehouse/gatehouse/device"
)

// The demo's fixed names; the ids stand in the seed file.
const (
	hubHost   = "demo-hub.azure-devices.net"
	apiPath   = "/management/api/v1.0"
	hubScope  = "/subscriptions/5ab50000-0000-4000-8000-000000000001/resourceGroups/demo/providers/Microsoft.Devices/IotHubs/demo-hub"
	duScope   = "/subscriptions/5ab50000-0000-4000-8000-000000000001/resourceGroups/demo/providers/Microsoft.DeviceUpdate/accounts/demo-update/instances/demo"
	sitePath  = "/5bace000-0000-4000-8000-000000000001/5bace000-0000-4000-8000-000000000010"
	contrib   = "4fc6c259-987e-4a07-842e-c321cc9d413f" // IoT Hub Data Contributor
	gatewayID = "gateway-1"
)

// ports that the demo listens on, all on loopback.
type ports struct{ MQTT, API, Hub, Page int }

// A site is one demo building on this machine: its folder, keys and ports.
type site struct {
	Dir   string
	Ports ports
	Seed  string

	ca       x509.Pair // signs the servers' certificates
	devices  map[string]x509.Pair
	keys     map[string][]byte // SAS keys by hub device id
	building *seed.Topology
	pool     *stdx509.CertPool
}

const validity = 90 * 24 * time.Hour

// prepare makes the folder with keys, certificates and configuration. What is
// there already is kept: a second `make run` goes on where the first stopped.
func prepare(dir, seedFile string, p ports) (*site, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	s := &site{Dir: abs, Ports: p, Seed: seedFile, devices: map[string]x509.Pair{}, keys: map[string][]byte{}}
	if s.building, err = seed.Load(seedFile); err != nil {
		return nil, err
	}
	for _, d := range []string{"pki", "state", "cloud", "log"} {
		if err := os.MkdirAll(filepath.Join(abs, d), 0o700); err != nil {
			return nil, err
		}
	}
	now := time.Now().Add(-time.Minute)
	if s.ca, err = s.pair("ca", func() (x509.Pair, error) { return x509.NewCA("Gatehouse development CA", now, validity) }); err != nil {
		return nil, err
	}
	if _, err := s.pair("server", func() (x509.Pair, error) {
		return s.ca.Server(now, validity, "localhost", "127.0.0.1", "::1", hubHost)
	}); err != nil {
		return nil, err
	}
	houseCA, err := s.pair("house-ca", func() (x509.Pair, error) { return x509.NewCA("Harbour House devices", now, validity) })
	if err != nil {
		return nil, err
	}
	if err := s.deviceKeys(houseCA, now); err != nil {
		return nil, err
	}
	s.pool = stdx509.NewCertPool()
	s.pool.AddCert(s.ca.Cert)
	if err := s.secrets(); err != nil {
		return nil, err
	}
	return s, s.configure()
}

func (s *site) deviceKeys(houseCA x509.Pair, now time.Time) error {
	var err error
	for _, id := range s.building.Devices(device.AuthSelfSigned) {
		if s.devices[id], err = s.pair(id, func() (x509.Pair, error) { return x509.NewSelfSigned(id, now, validity) }); err != nil {
			return err
		}
	}
	for _, id := range s.building.Devices(device.AuthCA) {
		if s.devices[id], err = s.pair(id, func() (x509.Pair, error) { return houseCA.Client(id, now, validity, nil) }); err != nil {
			return err
		}
	}
	// Good in form, known to nobody.
	if s.devices["stranger"], err = s.pair("stranger", func() (x509.Pair, error) { return x509.NewSelfSigned("stranger", now, validity) }); err != nil {
		return err
	}
	for _, id := range s.building.Devices(device.AuthSAS) {
		text, err := s.keep("pki/"+id+".sas-key", func() ([]byte, error) {
			key := make([]byte, 32)
			_, _ = rand.Read(key)
			return []byte(base64.StdEncoding.EncodeToString(key)), nil
		})
		if err != nil {
			return err
		}
		if s.keys[id], err = base64.StdEncoding.DecodeString(string(text)); err != nil {
			return err
		}
	}
	return nil
}

// pair keeps a certificate and its key in pki/.
func (s *site) pair(name string, issue func() (x509.Pair, error)) (x509.Pair, error) {
	certFile, keyFile := s.pki(name+".pem"), s.pki(name+".key")
	cert, err1 := os.ReadFile(certFile)
	key, err2 := os.ReadFile(keyFile)
	if err1 == nil && err2 == nil {
		p, err := x509.ParsePair(cert, key)
		switch {
		case err != nil:
			return p, fmt.Errorf("%s and its key cannot be used (%w); make clean removes the folder, and make run begins anew", certFile, err)
		case time.Now().After(p.Cert.NotAfter.Add(-24 * time.Hour)):
			// A new one would not do: the cloud side has stored the thumbprints of the old ones.
			return p, fmt.Errorf("%s ends on %s; make clean removes the folder, and make run begins anew", certFile, p.Cert.NotAfter.Format(time.DateOnly))
		}
		return p, nil
	}
	p, err := issue()
	if err != nil {
		return p, err
	}
	cert, key, err = p.PEM()
	if err != nil {
		return p, err
	}
	return p, errors.Join(os.WriteFile(certFile, cert, 0o644), os.WriteFile(keyFile, key, 0o600))
}

func (s *site) keep(name string, create func() ([]byte, error)) ([]byte, error) {
	file := filepath.Join(s.Dir, name)
	if b, err := os.ReadFile(file); err == nil {
		return b, nil
	}
	b, err := create()
	if err != nil {
		return nil, err
	}
	return b, os.WriteFile(file, b, 0o600)
}

func (s *site) pki(name string) string { return filepath.Join(s.Dir, "pki", name) }

// secrets writes what the two daemons need to know of each other and of the devices.
func (s *site) secrets() error {
	if _, err := s.keep("gatehoused.secret", func() ([]byte, error) {
		b := make([]byte, 24)
		_, _ = rand.Read(b)
		return []byte(hex.EncodeToString(b)), nil
	}); err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString("# How the demo's devices prove themselves; read once, into an empty store.\ndevices:\n")
	for id, p := range s.devices {
		if _, known := s.building.Device(id); known && id != "stranger" && !s.vouched(id) {
			t := x509.Thumbprint(p.Cert)
			fmt.Fprintf(&b, "  - {id: %s, thumbprints: [%x]}\n", id, t[:])
		}
	}
	for id, key := range s.keys {
		fmt.Fprintf(&b, "  - {id: %s, primaryKey: %s}\n", id, base64.StdEncoding.EncodeToString(key))
	}
	fmt.Fprintf(&b, "authorities:\n  - {space: house, cert: %s}\n", s.pki("house-ca.pem"))
	return os.WriteFile(filepath.Join(s.Dir, "cloud-credentials.yaml"), []byte(b.String()), 0o600)
}

func (s *site) vouched(id string) bool {
	for _, c := range s.building.Devices(device.AuthCA) {
		if c == id {
			return true
		}
	}
	return false
}

// configure writes both configuration files.
func (s *site) configure() error {
	secret, err := os.ReadFile(filepath.Join(s.Dir, "gatehoused.secret"))
	if err != nil {
		return err
	}
	data := map[string]any{"S": s, "Secret": string(secret), "HubHost": hubHost, "HubScope": hubScope, "DUScope": duScope, "Site": sitePath, "Tenant": s.building.HomeTenant, "API": apiPath}
	return errors.Join(
		render(filepath.Join(s.Dir, "managementd.yaml"), managementdConfig, data),
		render(filepath.Join(s.Dir, "gatehoused.yaml"), gatehousedConfig, data))
}

func render(file, text string, data any) error {
	t, err := template.New(filepath.Base(file)).Parse(text)
	if err != nil {
		return err
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(b.String()), 0o600)
}

const managementdConfig = `# Written by the demo; the cloud side on one machine.
listen: 127.0.0.1:{{.S.Ports.API}}
tls: {cert: pki/server.pem, key: pki/server.key}
state: cloud
tenant: {{.Tenant}}
hubHost: {{.HubHost}}
seed: {{.S.Seed}}
credentials: cloud-credentials.yaml
issuer:
  url: https://localhost:{{.S.Ports.API}}/{{.Tenant}}/v2.0
  key: cloud-issuer.key
  management: https://management.demo.example
  verifiedDomains: [harbour.example]
  audiences:
    - {resource: "https://management.demo.example", audience: "https://management.demo.example"}
    - {resource: "api://gatehouse", audience: "api://gatehouse"}
    - {resource: "https://api.adu.microsoft.com", audience: "https://api.adu.microsoft.com"}
  accounts:
    - {id: gatehoused, secret: {{.Secret}}, objectId: 5e4c1ce0-0000-4000-8000-000000000001}
    - {id: dashboard, secret: dashboard-secret, objectId: 5e4c1ce0-0000-4000-8000-000000000002}
    - {id: alice@harbour.example, secret: alice, objectId: a5e40000-0000-4000-8000-000000000001, user: true}
    - {id: dave@harbour.example, secret: dave, objectId: a5e40000-0000-4000-8000-000000000004, user: true}
    - {id: erin@harbour.example, secret: erin, objectId: a5e40000-0000-4000-8000-000000000005, user: true}
hub:
  listen: 127.0.0.1:{{.S.Ports.Hub}}
  signingRoot: update-roots.json
`

const gatehousedConfig = `# Written by the demo; see configs/gatehoused.yaml for what each key means.
instance:
  tenant: {{.Tenant}}
  site: {{.Site}}
  hub:
    host: {{.HubHost}}
    armScope: {{.HubScope}}
  deviceUpdate:
    armScope: {{.DUScope}}
    principal: {objectId: 5e4c1ce0-0000-4000-8000-000000000003, tenantId: {{.Tenant}}}
listeners:
  - name: mqtts
    address: 127.0.0.1:{{.S.Ports.MQTT}}
    tls: {cert: pki/server.pem, key: pki/server.key}
    limits: {ratePerAddress: 500}   # everything in the demo comes from one address
identity:
  tenants:
    - id: {{.Tenant}}
      issuers: ["https://localhost:{{.S.Ports.API}}/{{.Tenant}}/v2.0"]
      verifiedDomains: [harbour.example]
  audiences: {mqtt: ["api://gatehouse"], admin: ["api://gatehouse"]}
  jwks:
    url: https://localhost:{{.S.Ports.API}}/{{.Tenant}}/discovery/v2.0/keys
    ca: pki/ca.pem
cloud:
  management:
    url: https://localhost:{{.S.Ports.API}}{{.API}}
    ca: pki/ca.pem
    credential:
      kind: client-secret
      tokenUrl: https://localhost:{{.S.Ports.API}}/{{.Tenant}}/oauth2/v2.0/token
      clientId: gatehoused
      clientSecret: gatehoused.secret
      scope: https://management.demo.example/.default
  poll: {wait: 25s, full: 15m}
state: {dir: state, minFree: 64 MiB}
upstream:
  mode: iothub
  as: {objectId: 5e4c1ce0-0000-4000-8000-000000000004, tenantId: {{.Tenant}}}   # commands and methods from the hub are decided as this
  iothub:
    address: 127.0.0.1:{{.S.Ports.Hub}}
    ca: pki/ca.pem
    perDevice: true
    gatewayDevice: {id: gateway-1, cert: pki/gateway-1.pem, key: pki/gateway-1.key}
  routes:
    - {name: telemetry, filter: "devices/+/messages/events/#"}
deviceUpdate:
  records: off
  stuckAfter: 6h
  trustedRoots: update-roots.json   # the demo's own update authority, never on a real gateway
admin:
  socket: admin.sock
  address: 127.0.0.1:{{.S.Ports.Page}}
audit: {file: state/audit.jsonl, ratePerPrincipal: 50}
log: {level: info, format: text}
`

// endpoint of a device as its SDK would connect.
func (s *site) endpoint(id string) endpoint {
	e := endpoint{
		addr: fmt.Sprintf("localhost:%d", s.Ports.MQTT), tls: &tls.Config{RootCAs: s.pool, MinVersion: tls.VersionTLS12},
		clientID: id, username: hubHost + "/" + id + "/?api-version=2021-04-12", clean: true,
	}
	if p, ok := s.devices[id]; ok {
		e.tls.Certificates = []tls.Certificate{s.certificate(p)}
	} else if key, ok := s.keys[id]; ok {
		e.password = sas.Issue(sas.Device(hubHost, id), key, time.Now().Add(time.Hour))
	}
	return e
}

func (s *site) certificate(p x509.Pair) tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}
}

func (s *site) topic(id, sensor string) string {
	if sensor == "" {
		return "devices/" + id + "/messages/events/"
	}
	return "devices/" + id + "/messages/events/DigitalTwins-Telemetry=1.0&DigitalTwins-SensorHardwareId=" + sensor
}
