package e2e

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	stdx509 "crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/gateway/freeport"
	"github.com/gatehouse/gatehouse/sync/management/seed"
)

// The demo building's fixed names (configs/demo-topology.yaml).
const (
	HubHost       = "demo-hub.azure-devices.net"
	Site          = "/5bace000-0000-4000-8000-000000000001/5bace000-0000-4000-8000-000000000010"
	API           = "/management/api/v1.0"
	GatewayDevice = "d4c69766-e9bd-4e61-bfc1-d8b6e686c7a8" // the role
	Reader        = "de71ce00-0000-4000-8000-000000000020" // reader-1
	management    = "https://management.demo.example"
	mqtt          = "api://gatehouse"
)

// House is the demo building: its keys, and its cloud as a process.
type House struct {
	Dir      string // the binaries are in bin, keys and certificates in pki
	Topology *seed.Topology
	Pool     *stdx509.CertPool
	CA       x509.Pair
	Cloud    *Process

	port  int
	sas   map[string][]byte
	http  *http.Client
	files string // managementd.yaml
}

// Open makes the building in a directory of its own and starts its cloud. Close ends it.
func Open(seedFile string) (_ *House, err error) {
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		return nil, err
	}
	h := &House{Dir: dir, sas: map[string][]byte{}}
	defer func() {
		if err != nil {
			h.Close()
		}
	}()
	for _, d := range []string{"bin", "pki", "cloud"} {
		if err := os.Mkdir(filepath.Join(dir, d), 0o700); err != nil {
			return nil, err
		}
	}
	if h.Topology, err = seed.Load(seedFile); err != nil {
		return nil, err
	}
	if h.port, err = freeport.Get(); err != nil {
		return nil, err
	}
	if err = errors.Join(h.keys(), h.configure(seedFile)); err != nil {
		return nil, err
	}
	if err = Build(filepath.Join(dir, "bin")); err != nil {
		return nil, err
	}
	return h, h.StartCloud()
}

// StartCloud starts the management API and waits until it answers.
func (h *House) StartCloud() error {
	p, err := Launch(nil, h.Bin("managementd"), "-config", h.files)
	if err != nil {
		return err
	}
	h.Cloud = p
	return eventually("managementd answers", func() error {
		if !p.Running() {
			return fmt.Errorf("it ended:\n%s", Tail(p.Text(), 20))
		}
		return h.do(http.MethodGet, "/healthz", "", "", nil, nil)
	})
}

// Close ends the cloud and removes everything.
func (h *House) Close() {
	if h.Cloud != nil {
		h.Cloud.Kill()
	}
	_ = os.RemoveAll(h.Dir)
}

// Bin is a program that was built.
func (h *House) Bin(name string) string { return filepath.Join(h.Dir, "bin", name) }

// PKI is a file of keys or certificates.
func (h *House) PKI(name string) string { return filepath.Join(h.Dir, "pki", name) }

func (h *House) keys() error {
	from, life := time.Now().Add(-time.Hour), 90*24*time.Hour // offline stages are played through
	var errs []error
	keep := func(name string, p x509.Pair, err error) {
		errs = append(errs, err)
		if err == nil {
			errs = append(errs, WritePair(p, h.PKI(name+".pem"), h.PKI(name+".key")))
		}
	}
	ca, err := x509.NewCA("test authority", from, life)
	keep("ca", ca, err)
	if err != nil {
		return err
	}
	h.CA, h.Pool = ca, stdx509.NewCertPool()
	h.Pool.AddCert(ca.Cert)
	server, err := ca.Server(from, life, "localhost", "127.0.0.1")
	keep("server", server, err)
	var b strings.Builder
	b.WriteString("devices:\n")
	for _, id := range h.Topology.Devices(device.AuthSelfSigned) {
		p, err := x509.NewSelfSigned(id, from, life)
		keep(id, p, err)
		if err == nil {
			t := x509.Thumbprint(p.Cert)
			fmt.Fprintf(&b, "  - {id: %s, thumbprints: [%x]}\n", id, t[:])
		}
	}
	for _, id := range h.Topology.Devices(device.AuthSAS) {
		h.sas[id] = make([]byte, 32)
		_, _ = rand.Read(h.sas[id]) // never fails
		fmt.Fprintf(&b, "  - {id: %s, primaryKey: %s}\n", id, base64.StdEncoding.EncodeToString(h.sas[id]))
	}
	h.http = &http.Client{Timeout: Patience, Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: h.Pool, MinVersion: tls.VersionTLS12}}}
	errs = append(errs, os.WriteFile(filepath.Join(h.Dir, "credentials.yaml"), []byte(b.String()), 0o600),
		os.WriteFile(filepath.Join(h.Dir, "gatehoused.secret"), []byte("test-secret"), 0o600))
	return errors.Join(errs...)
}

// WritePair writes a certificate and its key, which only its owner reads.
func WritePair(p x509.Pair, cert, key string) error {
	c, k, err := p.PEM()
	if err != nil {
		return err
	}
	return errors.Join(os.WriteFile(cert, c, 0o600), os.WriteFile(key, k, 0o600))
}

func (h *House) configure(seedFile string) error {
	seedFile, err := filepath.Abs(seedFile)
	if err != nil {
		return err
	}
	h.files = filepath.Join(h.Dir, "managementd.yaml")
	return os.WriteFile(h.files, []byte(strings.NewReplacer("PORT", fmt.Sprint(h.port), "TENANT", h.Topology.HomeTenant.String(), "SEED", seedFile).Replace(`
listen: 127.0.0.1:PORT
tls: {cert: pki/server.pem, key: pki/server.key}
state: cloud
tenant: TENANT
hubHost: demo-hub.azure-devices.net
seed: SEED
credentials: credentials.yaml
issuer:
  url: https://localhost:PORT/TENANT/v2.0
  key: issuer.key
  management: https://management.demo.example
  verifiedDomains: [harbour.example]
  audiences:
    - {resource: "https://management.demo.example", audience: "https://management.demo.example"}
    - {resource: "api://gatehouse", audience: "api://gatehouse"}
  accounts:
    - {id: gatehoused, secret: test-secret, objectId: 5e4c1ce0-0000-4000-8000-000000000001}
    - {id: dashboard, secret: dashboard, objectId: 5e4c1ce0-0000-4000-8000-000000000002}
    - {id: alice@harbour.example, secret: alice, objectId: a5e40000-0000-4000-8000-000000000001, user: true}
    - {id: dave@harbour.example, secret: dave, objectId: a5e40000-0000-4000-8000-000000000004, user: true}
`)), 0o600)
}

// Path of a space by its key in the topology file.
func (h *House) Path(key string) string {
	p, _ := h.Topology.Path(key)
	return p.String()
}

// SAS is a device's token for an hour.
func (h *House) SAS(id string) string {
	return sas.Issue(sas.Device(HubHost, id), h.sas[id], time.Now().Add(time.Hour))
}

// Token is a bearer token for the gateway, from the development issuer.
func (h *House) Token(t testing.TB, name string) string { return h.token(t, mqtt, name) }

func (h *House) token(t testing.TB, resource, name string) string {
	t.Helper()
	form := url.Values{"scope": {resource + "/.default"}, "grant_type": {"client_credentials"}, "client_id": {name}, "client_secret": {name}}
	if first, _, person := strings.Cut(name, "@"); person {
		form = url.Values{"scope": {resource + "/.default"}, "grant_type": {"password"}, "username": {name}, "password": {first}, "client_id": {"test"}}
	}
	var answer struct {
		AccessToken string `json:"access_token"`
	}
	if err := h.do(http.MethodPost, "/"+h.Topology.HomeTenant.String()+"/oauth2/v2.0/token", "", "application/x-www-form-urlencoded", strings.NewReader(form.Encode()), &answer); err != nil {
		t.Fatalf("token for %s: %v", name, err)
	}
	return answer.AccessToken
}

// Assign gives a device a role and returns the assignment's id.
func (h *House) Assign(t testing.TB, role, deviceID, path string) string {
	t.Helper()
	body, err := json.Marshal(map[string]string{"roleId": role, "objectId": deviceID, "objectIdType": "DeviceId", "path": path})
	if err != nil {
		t.Fatal(err)
	}
	var id string
	if err := h.do(http.MethodPost, API+"/roleassignments", h.token(t, management, "alice@harbour.example"), "application/json", bytes.NewReader(body), &id); err != nil {
		t.Fatal(err)
	}
	return id
}

// Withdraw deletes an assignment.
func (h *House) Withdraw(t testing.TB, id string) {
	t.Helper()
	if err := h.do(http.MethodDelete, API+"/roleassignments/"+id, h.token(t, management, "alice@harbour.example"), "", nil, nil); err != nil {
		t.Fatal(err)
	}
}

// URL of the management API's server.
func (h *House) URL(path string) string { return fmt.Sprintf("https://localhost:%d%s", h.port, path) }

func (h *House) do(method, path, token, kind string, body io.Reader, into any) error {
	req, err := http.NewRequestWithContext(context.Background(), method, h.URL(path), body)
	if err != nil {
		return err
	}
	if kind != "" {
		req.Header.Set("Content-Type", kind)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return fetch(h.http, req, into)
}

func fetch(c *http.Client, req *http.Request, into any) error {
	res, err := c.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(res.Body, 16<<20))
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %.300s", req.Method, req.URL.Path, res.Status, b)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(b, into)
}

// Keys is the issuer's key set, as JSON.
func (h *House) Keys(t testing.TB) string {
	t.Helper()
	var set json.RawMessage
	if err := h.do(http.MethodGet, "/"+h.Topology.HomeTenant.String()+"/discovery/v2.0/keys", "", "", nil, &set); err != nil {
		t.Fatal(err)
	}
	return string(set)
}
