// Package clients has the proof that unmodified clients accept the development issuer: the Azure CLI, MSAL for Python and
// for Node.js, and azidentity sign in by every flow, and what they get opens the management API and the Device Update
// REST API of a gateway for whoever holds the right. `make clients` installs the clients and runs it.
package clients

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // x5t is a SHA-1 by its definition (RFC 7515 4.1.7)
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// Who signs in. alice and builder hold the rights at both APIs, as does the machine's identity; dave and guest do not.
const (
	alice, dave  = "alice@harbour.example", "dave@harbour.example"
	deviceUpdate = "https://api.adu.microsoft.com/"
	builderID    = "5e4c1ce0-0000-4000-8000-0000000000b1"
	machineID    = "5e4c1ce0-0000-4000-8000-0000000000b2"
	guestID      = "5e4c1ce0-0000-4000-8000-0000000000b3"
	azureCLI     = "04b07795-8ddb-461a-bbee-02f9e1bf7b46"
)

// world is a cloud and a gateway, and where they are.
type world struct {
	*e2e.House
	endpoints map[string]string // of managementd endpoints --shell
	update    string            // the Device Update REST API of the gateway
	client    []byte            // builder's certificate, DER
	dir       string            // of what clients keep
	http      *http.Client
}

// start is skipped where the clients were not asked for: they are large, and `make test` does not install them.
func start(t *testing.T) *world {
	t.Helper()
	if os.Getenv("CLIENTS") == "" {
		t.Skip("make clients installs the clients and runs this")
	}
	w := &world{dir: e2e.ShortDir(t)}
	var err error
	if w.House, err = e2e.Open(w.seed(t)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	w.http = &http.Client{Timeout: e2e.Patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: w.Pool, MinVersion: tls.VersionTLS12},
	}}
	t.Cleanup(w.http.CloseIdleConnections)
	w.serveUpdate(t)
	w.reconfigure(t)
	return w
}

// seed is the demo building with builder and the machine in it.
func (w *world) seed(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../../configs/demo-topology.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	after := func(line, more string) {
		t.Helper()
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Fatalf("the topology has no line %q", line)
		}
		text = strings.Replace(text, "\n"+line+"\n", "\n"+line+"\n"+more, 1)
	}
	after("servicePrincipals:", fmt.Sprintf("  - {id: %s, name: builder}\n  - {id: %s, name: machine}\n  - {id: %s, name: guest}\n",
		builderID, machineID, guestID))
	var spaces, azure strings.Builder
	for n, who := range []string{"user: " + alice, "servicePrincipal: builder", "servicePrincipal: machine"} {
		if n > 0 { // alice is Space Administrator already
			fmt.Fprintf(&spaces, "  - {id: a5510000-0000-4000-8000-0000000000b%d, role: SpaceAdministrator, who: {%s}, at: /}\n", n, who)
		}
		fmt.Fprintf(&azure, "  - {id: a2510000-0000-4000-8000-0000000000b%d, role: e4237640-0e3d-4a46-8fda-70bc94856432, %s,\n     scope: %s}\n",
			n, who, site.UpdateScope)
	}
	after("assignments:", spaces.String())
	after("azureAssignments:", azure.String())
	file := filepath.Join(w.dir, "topology.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// reconfigure gives the cloud the accounts of the test and starts it again.
func (w *world) reconfigure(t *testing.T) {
	t.Helper()
	w.Cloud.Kill()
	w.certify(t)
	w.federate(t)
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(w.CloudFile())
	if err != nil {
		t.Fatal(err)
	}
	more := fmt.Sprintf(`  deviceInterval: 1s
  identityListen: 127.0.0.1:%d
  identities:
    - {name: machine, objectId: %s, clientId: c11e0000-0000-4000-8000-0000000000b2, resourceId: /subscriptions/s/machine}
  accounts:
    - {id: builder, secret: builder, objectId: %s, certificates: [%s], redirects: ["http://localhost"],
       federated: [{issuer: "https://cluster.example", subject: pod, keys: %s}]}
    - {id: guest, secret: guest, objectId: %s}
`, port, machineID, builderID, filepath.Join(w.dir, "builder.pem"), filepath.Join(w.dir, "cluster.json"), guestID)
	text := strings.Replace(string(b), "  accounts:\n", more, 1) +
		fmt.Sprintf("endpoints: {ca: %s, deviceUpdate: %q}\n", w.PKI("ca.pem"), w.update)
	if err := os.WriteFile(w.CloudFile(), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	w.Cloud = e2e.Start(t, nil, w.Bin("managementd"), "-config", w.CloudFile())
	w.Cloud.Line(t, "managementd serves")
	out := w.run(t, nil, w.Bin("managementd"), "endpoints", "-config", w.CloudFile(), "--shell")
	w.endpoints = map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^([A-Z_]+)='(.*)'$`).FindAllStringSubmatch(out, -1) {
		w.endpoints[m[1]] = m[2]
	}
	for _, name := range []string{"ARM", "AUTHORITY", "GRAPH", "IMDS", "MANAGEMENT", "DEVICEUPDATE", "CA", "TENANT"} {
		if w.endpoints[name] == "" {
			t.Errorf("managementd endpoints --shell says no %s:\n%s", name, out)
		}
	}
}

// serveUpdate starts a gateway whose Device Update REST API forwards what it allows to a server that says yes.
func (w *world) serveUpdate(t *testing.T) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(w.PKI("server.pem"), w.PKI("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	azure := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		fmt.Fprint(rw, `{"deviceId": "thermostat-101"}`)
	}))
	azure.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	azure.StartTLS()
	t.Cleanup(azure.Close)
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	w.update = fmt.Sprintf("https://localhost:%d", port)
	g := w.NewGateway(t, e2e.Settings{})
	g.Write(t, w.GatewayConfig(site.Daemon{
		MQTT:      g.MQTT,
		Page:      g.Page,
		Files:     w.Dir + "/",
		Instance:  "  deviceUpdate: {armScope: " + site.UpdateScope + "}",
		State:     "{dir: state, minFree: 16 MiB}",
		LogFormat: "json",
		Sections: fmt.Sprintf("api: {address: \"127.0.0.1:%d\", tls: {cert: %s, key: %s}}\ndeviceUpdate: {endpoint: %q, ca: %s}",
			port, w.PKI("server.pem"), w.PKI("server.key"), azure.URL, w.PKI("ca.pem")),
	}))
	g.Up(t)
}

// env is the environment of a client that trusts the cloud's authority.
func (w *world) env(more ...string) []string {
	return append([]string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + w.dir,
		"AZURE_CONFIG_DIR=" + filepath.Join(w.dir, "azure"),
		"AZURE_CORE_COLLECT_TELEMETRY=false",
		"REQUESTS_CA_BUNDLE=" + w.PKI("ca.pem"),
		"NODE_EXTRA_CA_CERTS=" + w.PKI("ca.pem"),
		"no_proxy=*",
	}, more...)
}

// run runs a program to its end and returns what it wrote to its standard output.
func (w *world) run(t *testing.T, env []string, name string, args ...string) string {
	t.Helper()
	out, err := w.try(t, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v", filepath.Base(name), strings.Join(args, " "), err)
	}
	return out
}

// userCode is how the messages of all clients end that ask for a device code to be entered.
var userCode = regexp.MustCompile(`enter the code ([A-Z]{4}-[A-Z]{4}) to`)

// try is run, and approves device codes as alice while the program waits.
func (w *world) try(t *testing.T, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = env
	var out, log bytes.Buffer
	cmd.Stdout = &out
	cmd.Stderr = writer(func(b []byte) (int, error) {
		for _, m := range userCode.FindAllSubmatch(b, -1) {
			go w.approve(string(m[1]))
		}
		return log.Write(b)
	})
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%w\n%s", err, e2e.Tail(log.String(), 30))
	}
	return out.String(), nil
}

type writer func([]byte) (int, error)

func (w writer) Write(b []byte) (int, error) { return w(b) }

// approve enters a user code; a client whose code is not approved fails by its own time-out.
func (w *world) approve(code string) {
	form := url.Values{"user_code": {code}, "username": {alice}, "password": {"alice"}}
	ctx, cancel := context.WithTimeout(context.Background(), e2e.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.URL("/device"), strings.NewReader(form.Encode()))
	if err != nil {
		return
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if res, err := w.http.Do(req); err == nil {
		_ = res.Body.Close()
	}
}

// browser is a program that signs alice in on the page whose address it is given.
func (w *world) browser(t *testing.T) string {
	t.Helper()
	file := filepath.Join(w.dir, "browser")
	text := fmt.Sprintf("#!/bin/sh\n"+
		"curl -sL --noproxy '*' --cacert %s --data-urlencode username=%s --data-urlencode password=alice \"$1\" >/dev/null 2>&1 &\n",
		w.PKI("ca.pem"), alice)
	if err := os.WriteFile(file, []byte(text), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return file
}

// status of a request with a token.
func (w *world) status(t *testing.T, address, token string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := w.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// opensUpdate tells that a token reads a device at the gateway's Device Update REST API, or may not.
func (w *world) opensUpdate(t *testing.T, flow, token string, want int) {
	t.Helper()
	const path = "/deviceUpdate/demo/management/devices/thermostat-101?api-version=2022-10-01"
	if status, b := w.status(t, w.update+path, token); status != want {
		t.Errorf("%s: Device Update answers %d, want %d: %s", flow, status, want, b)
	}
}

// opensManagement tells that a token lists who may do what in the building, or is shown nothing.
func (w *world) opensManagement(t *testing.T, flow, token string, want bool) {
	t.Helper()
	status, b := w.status(t, w.endpoints["MANAGEMENT"]+"/roleassignments?path=/&traverse=Down", token)
	var rows []any
	if err := json.Unmarshal([]byte(b), &rows); (status == http.StatusOK && err == nil && len(rows) > 0) != want {
		t.Errorf("%s: the management API answers %d %.200s", flow, status, b)
	}
}

// certify makes builder's certificate; clients sign assertions by RSA only.
func (w *world) certify(t *testing.T) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "builder"},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(24 * time.Hour),
	}
	if w.client, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key); err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{
		"builder.pem": {Type: "CERTIFICATE", Bytes: w.client},
		"builder.key": {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (w *world) thumbprints() (one, two string) {
	return fmt.Sprintf("%X", sha1.Sum(w.client)), fmt.Sprintf("%x", sha256.Sum256(w.client)) //nolint:gosec // see the import
}
