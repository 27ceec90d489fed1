package gateway

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/preflight"
)

func rehearsed(cfg *config.Config) []config.Problem { return preflight.Rehearsed(cfg, rehearse(cfg)) }

// TestRehearsalFindsWhatOnlyBuildingFinds: mistakes that no look at a single setting shows.
func TestRehearsalFindsWhatOnlyBuildingFinds(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.State.Dir = config.File(filepath.Join(dir, "state"))
	cfg.Admin.Socket = config.File(filepath.Join(dir, "admin.sock"))
	cfg.Listeners = []config.Listener{{Name: "local", Kind: config.KindUnix, Address: filepath.Join(dir, "mqtt.sock")}}
	cfg.Instance.Hub.Host = "hub.example"
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "nobody-listens"))
	if p := rehearsed(&cfg); len(p) > 0 {
		t.Errorf("a good one: %v", p)
	}
	bad := cfg
	bad.Listeners = []config.Listener{{Name: "local", Kind: config.KindUnix,
		Address: "x", Peers: []config.Peer{{UID: 1, Principal: "role:nobody"}}}}
	if p := rehearsed(&bad); len(p) != 1 || p[0].Hint == "" {
		t.Errorf("a peer that is nobody: %v", p)
	}
	bad = cfg
	bad.DeviceUpdate.RootKeyPackage = config.File(filepath.Join(dir, "none"))
	if p := rehearsed(&bad); len(p) != 1 || p[0].Field != "deviceUpdate.rootKeyPackage" {
		t.Errorf("a package that is not there: %v", p)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestRehearsalWithoutADoorsKey: the listener would wait for its key, so that what else ends the
// rehearsal ends the daemon.
func TestRehearsalWithoutADoorsKey(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "")
	dir := t.TempDir()
	look := func(principal, more string) (problems, warnings []config.Problem) {
		file := filepath.Join(dir, "gatehoused.yaml")
		text := `instance:
  tenant: 7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001
  site: /
  hub: {host: demo-hub.azure-devices.net}
listeners:
  - {name: mqtts, address: "127.0.0.1:0", tls: {cert: server.crt, key: "${CREDENTIALS_DIRECTORY}/secret_server.key"}}
  - {name: local, kind: unix, address: /run/gatehouse/none.sock, peers: [{uid: 1, principal: "PRINCIPAL"}]}
state: {dir: state}
admin: {socket: admin.sock}
` + more
		if err := os.WriteFile(file, []byte(strings.Replace(text, "PRINCIPAL", principal, 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, loaded := config.LoadForCheck(file)
		return Look(&cfg, loaded)
	}
	if problems, _ := look("local:modbus", ""); len(problems) > 0 {
		t.Errorf("a good one, but for the key: %v", problems)
	}
	if problems, _ := look("role:nobody", ""); len(problems) != 1 || !strings.Contains(problems[0].Message, "uid 1") {
		t.Errorf("a peer that is nobody: %v", problems)
	}
	problems, warnings := look("role:nobody", `deviceUpdate: {rootKeyPackage: "${CREDENTIALS_DIRECTORY}/secret_package"}
`)
	said := slices.ContainsFunc(warnings, func(p config.Problem) bool {
		return strings.Contains(p.Message, "was not tried to the end, without deviceUpdate.rootKeyPackage: ")
	})
	if len(problems) > 0 || !said {
		t.Errorf("a file that the rehearsal lacks: %v, %v", problems, warnings)
	}
}
