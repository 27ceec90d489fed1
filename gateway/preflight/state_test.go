package preflight

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/config"
)

func TestProblemOfNamesTheSetting(t *testing.T) {
	cfg := config.Default()
	own := config.Problem{Field: "x", Message: "y"}
	for text, want := range map[string]string{
		"upstream.mqtt.ca: no certificate": "upstream.mqtt.ca",
		"listeners[1].tls: no":             "listeners[1].tls",
		"open /x: denied":                  "",
		"api: no":                          "",
		"plain":                            "",
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
	for path, ok := range map[string]bool{link: false, filepath.Join(link, "below"): false, filepath.Join(dir, "new"): true,
		filepath.Join(dir, "a", "b"): true} {
		if err := writable(path); (err == nil) != ok {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestStateThatTimeMends: a full disk or too many open files do not make the configuration wrong.
func TestStateThatTimeMends(t *testing.T) {
	for _, e := range []unix.Errno{unix.ENOSPC, unix.EDQUOT, unix.EROFS, unix.EIO, unix.EMFILE, unix.ENFILE} {
		if p := passes(config.Problem{Hint: "own"}, fmt.Errorf("state: %w", e)); !p.Warning || p.Hint == "own" {
			t.Errorf("%v: %+v", e, p)
		}
	}
	for _, e := range []unix.Errno{unix.EACCES, unix.ENOTDIR, unix.ENOENT} {
		if p := passes(config.Problem{Hint: "own"}, e); p.Warning || p.Hint != "own" {
			t.Errorf("%v: %+v", e, p)
		}
	}
	cfg := config.Default()
	cfg.State.Dir = config.File(t.TempDir())
	var was unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	none := was
	none.Cur = 0
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &none); err != nil {
		t.Fatal(err)
	}
	found := state(&cfg)
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &was); err != nil {
		t.Fatal(err)
	}
	if len(found) != 1 || !found[0].Warning || !strings.Contains(found[0].Hint, "LimitNOFILE") {
		t.Errorf("no file can be opened: %+v", found)
	}
}

// TestSecretThatComesLater: what is read before each use may be away at the start; what is there and
// open to everybody may not be used.
func TestSecretThatComesLater(t *testing.T) {
	dir := t.TempDir()
	cfg := config.Default()
	cfg.State.Dir = config.File(dir)
	later := config.SecretFile(filepath.Join(dir, "later"))
	cfg.Upstream.MQTT.Password = later
	cfg.Cloud.Management.Credential.TokenFile, cfg.Cloud.Management.Credential.ClientSecret = later, later
	fields := []string{"cloud.management.credential.clientSecret", "cloud.management.credential.tokenFile", "upstream.mqtt.password"}
	sorted := func(problems []config.Problem) []string { return slices.Sorted(slices.Values(fieldsOf(problems))) }
	if bad, said := Check(&cfg), passing(&cfg, time.Unix(2e9, 0)); len(bad) > 0 || !slices.Equal(sorted(said), fields) {
		t.Errorf("not there yet: problems %v, warnings %v", bad, said)
	}
	if err := os.WriteFile(string(later), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(string(later), 0o644); err != nil {
		t.Fatal(err)
	}
	if bad, said := Check(&cfg), passing(&cfg, time.Unix(2e9, 0)); len(said) > 0 || !slices.Equal(sorted(bad), fields) {
		t.Errorf("open to everybody: problems %v, warnings %v", bad, said)
	}
}
