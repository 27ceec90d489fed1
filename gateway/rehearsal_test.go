package gateway

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// TestRehearsalFindsWhatOnlyBuildingFinds: mistakes that no look at a single setting shows.
func TestRehearsalFindsWhatOnlyBuildingFinds(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.State.Dir = config.File(filepath.Join(dir, "state"))
	cfg.Admin.Socket = config.File(filepath.Join(dir, "admin.sock"))
	cfg.Listeners = []config.Listener{{Name: "local", Kind: config.KindUnix, Address: filepath.Join(dir, "mqtt.sock")}}
	cfg.Instance.Hub.Host = "hub.example"
	t.Setenv("NOTIFY_SOCKET", filepath.Join(dir, "nobody-listens"))
	if p := rehearse(&cfg); len(p) > 0 {
		t.Errorf("a good one: %v", p)
	}
	bad := cfg
	bad.Listeners = []config.Listener{{Name: "local", Kind: config.KindUnix, Address: "x", Peers: []config.Peer{{UID: 1, Principal: "role:nobody"}}}}
	if p := rehearse(&bad); len(p) != 1 || p[0].Hint == "" {
		t.Errorf("a peer that is nobody: %v", p)
	}
	bad = cfg
	bad.DeviceUpdate.RootKeyPackage = config.File(filepath.Join(dir, "none"))
	if p := rehearse(&bad); len(p) != 1 || p[0].Field != "deviceUpdate.rootKeyPackage" {
		t.Errorf("a package that is not there: %v", p)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestProblemOfNamesTheSetting(t *testing.T) {
	cfg := config.Default()
	own := config.Problem{Field: "x", Message: "y"}
	for text, want := range map[string]string{
		"upstream.mqtt.ca: no certificate": "upstream.mqtt.ca", "listeners[1].tls: no": "listeners[1].tls", "open /x: denied": "", "api: no": "", "plain": "",
	} {
		if p := problemOf(&cfg, errors.New(text)); p.Field != want || !strings.HasSuffix(text, p.Message) {
			t.Errorf("%q: %+v", text, p)
		}
	}
	if p := problemOf(&cfg, errors.Join(own)); p != own {
		t.Errorf("a problem: %+v", p)
	}
}

func TestStateByADanglingLink(t *testing.T) {
	dir := t.TempDir()
	link := filepath.Join(dir, "state")
	if err := os.Symlink("nowhere", link); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{link: false, filepath.Join(link, "below"): false, filepath.Join(dir, "new"): true, filepath.Join(dir, "a", "b"): true} {
		if err := writable(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}
