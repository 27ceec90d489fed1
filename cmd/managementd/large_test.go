package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/sync/client"
	"github.com/gatehouse/gatehouse/sync/management"
)

const largeTenant = "7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001"

// largeSite writes a seed of n devices with an assignment each, and their credentials.
func largeSite(t *testing.T, n int) (seedFile, credentials string) {
	t.Helper()
	dir := t.TempDir()
	write := func(name string, content func(w io.Writer)) string {
		file := filepath.Join(dir, name)
		f, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		w := bufio.NewWriter(f)
		content(w)
		if err := w.Flush(); err != nil {
			t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		return file
	}
	seedFile = write("topology.yaml", func(w io.Writer) {
		fmt.Fprintf(w, "homeTenant: %s\nspaces:\n", largeTenant)
		fmt.Fprint(w, "  - {key: house, id: 5bace000-0000-4000-8000-000000000010, name: House}\ndevices:\n")
		for i := range n {
			fmt.Fprintf(w, "  - {id: de71ce00-0000-4000-8000-%012d, deviceId: d%d, hardwareId: H%d, space: house, auth: sas}\n", i, i, i)
		}
		fmt.Fprint(w, "assignments:\n")
		for i := range n {
			fmt.Fprintf(w, "  - id: a5510000-0000-4000-8000-%012d\n    role: GatewayDevice\n    who: {device: d%d}\n    at: house\n", i, i)
		}
	})
	return seedFile, write("credentials.yaml", func(w io.Writer) {
		fmt.Fprint(w, "devices:\n")
		for i := range n {
			key := base64.StdEncoding.EncodeToString(fmt.Appendf(nil, "%032d", i))
			fmt.Fprintf(w, "  - {id: d%d, primaryKey: %s}\n", i, key)
		}
	})
}

type everybody struct{}

func (everybody) Authorization(context.Context) (string, error) { return "Bearer x", nil }

// TestASiteOfFiftyThousandDevices is seeded into the real store, read again by a
// server that starts on it, and read from that over HTTP as a gateway reads it.
func TestASiteOfFiftyThousandDevices(t *testing.T) {
	if testing.Short() {
		t.Skip("seeds 50,000 devices")
	}
	const n = 50_000
	seedFile, credentials := largeSite(t, n)
	home, reader := space.MustID(largeTenant), space.NewID()
	s := settings{Tenant: home, Seed: config.File(seedFile), Credentials: config.File(credentials)}
	dir := t.TempDir()
	quiet := slog.New(slog.DiscardHandler)
	serve := func() (*management.Server, *store.KV) {
		kv, err := store.OpenKV(dir, store.Options{Log: quiet, MinFree: 1, Ballast: -1})
		if err != nil {
			t.Fatal(err)
		}
		who := model.Identity{Kind: model.ServicePrincipalID, Object: reader, Tenant: home}
		api, err := management.New(management.Options{
			Store:             kvStore{kv},
			HomeTenant:        home,
			RequestsPerSecond: -1,
			Authenticate: func(*http.Request) (management.Caller, error) {
				return management.Caller{Subject: model.Subject{Identities: []model.Identity{who}}}, nil
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		return api, kv
	}
	api, kv := serve()
	if err := seedOnce(api, s, quiet); err != nil {
		t.Fatal(err)
	}
	var grants []model.Assignment
	for _, role := range []string{model.SupportSpecialistRole, model.TokenAdministratorRole} {
		grants = append(grants, model.Assignment{ID: space.NewID(), Role: space.MustID(role), Path: space.Root,
			Who: model.Identity{Kind: model.ServicePrincipalID, Object: reader, Tenant: home}})
	}
	if err := api.Import(management.Content{Assignments: grants}); err != nil {
		t.Fatal(err)
	}
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
	api, kv = serve()
	server := httptest.NewTLSServer(api)
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	c, err := client.New(client.Options{URL: server.URL, Site: space.Root.Join(space.MustID("5bace000-0000-4000-8000-000000000010")),
		HomeTenant: home, Token: everybody{}, RequestsPerSecond: 1e6, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	if err != nil {
		t.Fatal(err)
	}
	full, err := c.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(full.Data.Devices) != n || len(full.Policy.Assignments) != n+2 || len(full.Problems) != 0 {
		t.Errorf("%d devices, %d assignments, problems %v", len(full.Data.Devices), len(full.Policy.Assignments), full.Problems)
	}
	for _, i := range []int{0, n - 1} {
		d := full.Data.Devices[i]
		if want := fmt.Sprintf("%032d", i); d.HubID != fmt.Sprint("d", i) || string(d.Auth.Primary) != want {
			t.Errorf("device %d is %s and has another key", i, d.HubID)
		}
	}
	c.Close()
	api.Release()
	server.Close()
	if err := kv.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestABadLineOfTheCredentialsIsNamed(t *testing.T) {
	for name, tt := range map[string]struct{ text, want string }{
		"a key that is none":    {"devices:\n  - {id: a, primaryKey: AAAA}\n  - {id: b, primaryKey: \"%\"}\n", "line 3: device b: primaryKey"},
		"a short thumbprint":    {"devices:\n  - id: a\n    thumbprints: [abcd]\n", "line 2: device a: thumbprint"},
		"no id":                 {"devices:\n  - {primaryKey: AAAA}\n", "line 2: a device without an id"},
		"an unknown member":     {"devices:\n  - id: a\n    secret: x\n", "line 3: field secret"},
		"an unknown list":       {"gadgets:\n  - {id: a}\n", "line 1: gadgets"},
		"a missing certificate": {"authorities:\n  - {space: house, cert: none.pem}\n", "line 2: authorities: cert: open"},
	} {
		file := filepath.Join(t.TempDir(), "credentials.yaml")
		if err := os.WriteFile(file, []byte(tt.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readCredentials(file); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v, want %s", name, err, tt.want)
		}
	}
}
