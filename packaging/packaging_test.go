// Package packaging holds no code: units, maintainer scripts and the script
// that makes the Debian package, and here their tests.
package packaging

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// threshold is the worst exposure that systemd-analyze may find, in tenths.
const threshold = 14

func need(t *testing.T, tool string) {
	t.Helper()
	if _, err := exec.LookPath(tool); err != nil {
		t.Fatalf("%s is needed for this test: install it (make deps)", tool)
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	need(t, name)
	return runPath(t, name, args...)
}

func runPath(t *testing.T, path string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", path, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestExposure(t *testing.T) {
	for _, unit := range []string{"gatehoused.service", "managementd.service"} {
		run(t, "systemd-analyze", "security", "--offline=true", fmt.Sprintf("--threshold=%d", threshold), "systemd/"+unit)
	}
}

// TestVerify has systemd itself read the units: an unknown or misspelt
// setting is otherwise ignored with a line in the log that nobody reads.
func TestVerify(t *testing.T) {
	root := t.TempDir()
	put := func(name string, mode os.FileMode, text string) {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	for _, target := range []string{"sysinit", "basic", "shutdown", "network", "multi-user", "sockets"} {
		put("lib/systemd/system/"+target+".target", 0o644, "[Unit]\nDescription="+target+"\n")
	}
	for _, command := range []string{"gatehoused", "managementd"} {
		put("usr/bin/"+command, 0o755, "#!/bin/sh\n")
	}
	put("bin/kill", 0o755, "#!/bin/sh\n")
	put("usr/share/doc/gatehouse/README.md", 0o644, "")
	for _, unit := range []string{"gatehoused.service", "gatehoused.socket", "managementd.service"} {
		put("lib/systemd/system/"+unit, 0o644, read(t, "systemd/"+unit))
	}
	for _, unit := range []string{"gatehoused.service", "gatehoused.socket", "managementd.service"} {
		if out := run(t, "systemd-analyze", "--root="+root, "--man=no", "verify", unit); out != "" {
			t.Errorf("%s: %s", unit, out)
		}
	}
}

// TestReasons: in the gateway's units no setting stands without its reason
// above it; a few that belong together may share one.
func TestReasons(t *testing.T) {
	setting := regexp.MustCompile(`^[A-Z][A-Za-z]+=`)
	for _, unit := range []string{"gatehoused.service", "gatehoused.socket"} {
		section, left := "", 0
		for line := range strings.Lines(read(t, "systemd/"+unit)) {
			switch {
			case strings.HasPrefix(line, "["):
				section, left = line, 0
			case strings.HasPrefix(line, "#"):
				left = 5
			case strings.TrimSpace(line) == "":
				left = 0
			case setting.MatchString(line) && section == "[Service]\n":
				if left--; left < 0 {
					t.Errorf("%s: %s: no reason above it", unit, strings.TrimSpace(line))
				}
			}
		}
	}
}

// TestUnitsAgree: what a unit says and what the program and its configuration
// say is the same.
func TestUnitsAgree(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/gatehoused.service")
	c, problems := config.Load("../configs/gatehoused.yaml")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	service, socket := read(t, "systemd/gatehoused.service"), read(t, "systemd/gatehoused.socket")
	for _, want := range []struct{ unit, line string }{
		{service, fmt.Sprintf("RestartPreventExitStatus=%d ", config.ExitCode)},
		{service, "StartLimitIntervalSec=0\n"}, // what time mends never needs a visit
		{service, "Restart=on-failure\nRestartSec=10s\n"},
		{socket, "TriggerLimitIntervalSec=1min\nTriggerLimitBurst=10\n"}, // the one loop that is left: 78 at each connection
		{service, "ExecStart=/usr/bin/gatehoused -config /etc/gatehouse/gatehoused.yaml\n"},
		{service, "StateDirectory=" + strings.TrimPrefix(string(c.State.Dir), "/var/lib/") + "\n"},
		{service, "RuntimeDirectory=" + strings.TrimPrefix(filepath.Dir(string(c.Admin.Socket)), "/run/") + "\n"},
		{socket, "ListenStream=" + c.Listeners[0].Address + "\n"},
		{socket, "FileDescriptorName=" + c.Listeners[0].Name + "\n"},
	} {
		if !strings.Contains(want.unit, want.line) {
			t.Errorf("no unit says %q", want.line)
		}
	}
	if strings.Contains(service, "StartLimitBurst=") {
		t.Error("the service has a start limit")
	}
	got := string(c.Listeners[0].TLS.Key)
	if got != "/run/credentials/gatehoused.service/secret_server.key" ||
		!strings.Contains(service, "LoadCredential=secret:/etc/gatehouse/credentials\n") {
		t.Errorf("the key is looked for at %s, which the unit does not provide", got)
	}
}

// TestDeb builds the package twice, compares the bytes, and installs it into
// a root of its own.
func TestDeb(t *testing.T) {
	if testing.Short() {
		t.Skip("builds every binary twice")
	}
	need(t, "dpkg-deb")
	t.Setenv("SOURCE_DATE_EPOCH", "1767225600") // a commit between the two builds is no difference
	build := func(tree string) string {
		return strings.TrimSpace(
			run(t, "sh", filepath.Join(tree, "packaging/deb.sh"), "--version", "1.2.3-dev.4+gabcdef", "--out", t.TempDir()),
		)
	}
	// Copies: where the sources lie must not show, and nobody edits them meanwhile.
	here, there := t.TempDir(), t.TempDir()
	copySources(t, here)
	if err := os.CopyFS(there, os.DirFS(here)); err != nil {
		t.Fatal(err)
	}
	first, second := build(here), build(there)
	if filepath.Base(first) != "gatehouse_1.2.3~dev.4+gabcdef_"+strings.TrimSpace(run(t, "dpkg", "--print-architecture"))+".deb" {
		t.Errorf("package %s", first)
	}
	if !bytes.Equal([]byte(read(t, first)), []byte(read(t, second))) {
		t.Error("the same sources made two different packages")
	}
	checkContents(t, first)
	if os.Getuid() == 0 {
		install(t, first)
	} else {
		t.Log("not root: unpacked and compared, not installed")
	}
	root := t.TempDir()
	run(t, "dpkg-deb", "-x", first, root)
	for _, command := range []string{"gatehoused", "managementd"} {
		if got := runPath(t, filepath.Join(root, "usr/bin", command), "-version"); got != command+" 1.2.3-dev.4+gabcdef\n" {
			t.Errorf("%s says it is %q", command, got)
		}
	}
	// The configuration that is installed is good as it is, but for what only
	// the operator has.
	t.Setenv("CREDENTIALS_DIRECTORY", filepath.Join(root, "credentials"))
	out, err := exec.CommandContext(
		t.Context(), filepath.Join(root, "usr/bin/managementd"), "-check", "-config",
		filepath.Join(root, "etc/gatehouse/managementd.yaml"),
	).CombinedOutput()
	lacks := regexp.MustCompile(`(?m)^\S+:\d+: (\S+): `).FindAllStringSubmatch(string(out), -1)
	if err == nil || len(lacks) != 2 || lacks[0][1] != "tls.key" || lacks[1][1] != "tls.cert" {
		t.Errorf("the installed configuration lacks more than certificate and key: %v\n%s", err, out)
	}
	got := runPath(t, filepath.Join(root, "usr/bin/gatehousectl"), "--socket", filepath.Join(root, "none"), "version")
	if !strings.HasPrefix(got, "gatehousectl 1.2.3-dev.4+gabcdef\n") {
		t.Errorf("gatehousectl says it is %q", got)
	}
}

// copySources copies the module without what is built or kept in it.
func copySources(t *testing.T, to string) {
	t.Helper()
	top, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	built := map[string]bool{".git": true, ".cache": true, "bin": true, "run": true, "dist": true}
	entries, err := os.ReadDir(top)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		switch {
		case built[e.Name()]:
		case e.IsDir():
			err = os.CopyFS(filepath.Join(to, e.Name()), os.DirFS(filepath.Join(top, e.Name())))
		default:
			err = os.WriteFile(filepath.Join(to, e.Name()), []byte(read(t, filepath.Join(top, e.Name()))), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkContents(t *testing.T, deb string) {
	t.Helper()
	listed := map[string]string{}
	for line := range strings.Lines(run(t, "dpkg-deb", "-c", deb)) {
		f := strings.Fields(line)
		if f[1] != "root/root" {
			t.Errorf("not root's: %s", line)
		}
		listed[strings.TrimPrefix(f[5], ".")] = f[0]
	}
	for path, mode := range map[string]string{
		"/usr/bin/gatehoused":                                      "-rwxr-xr-x",
		"/usr/bin/gatehousectl":                                    "-rwxr-xr-x",
		"/usr/bin/managementd":                                     "-rwxr-xr-x",
		"/etc/gatehouse/gatehoused.yaml":                           "-rw-r-----",
		"/etc/gatehouse/managementd.yaml":                          "-rw-r-----",
		"/etc/gatehouse/credentials/":                              "drwx------",
		"/etc/gatehouse/management-credentials/":                   "drwx------",
		"/etc/gatehouse/tls/":                                      "drwxr-xr-x",
		"/lib/systemd/system/gatehoused.service":                   "-rw-r--r--",
		"/lib/systemd/system/gatehoused.socket":                    "-rw-r--r--",
		"/lib/systemd/system/managementd.service":                  "-rw-r--r--",
		"/usr/lib/sysusers.d/gatehouse.conf":                       "-rw-r--r--",
		"/usr/lib/tmpfiles.d/gatehouse.conf":                       "-rw-r--r--",
		"/usr/share/gatehouse/demo-topology.yaml":                  "-rw-r--r--",
		"/usr/share/gatehouse/gatehoused.schema.json":              "-rw-r--r--",
		"/usr/share/gatehouse/managementd.schema.json":             "-rw-r--r--",
		"/usr/share/doc/gatehouse/docs/reference/configuration.md": "-rw-r--r--",
		"/":                                  "drwxr-xr-x",
		"/usr/share/doc/gatehouse/copyright": "-rw-r--r--",
		"/usr/share/doc/gatehouse/docs/operating.md":      "-rw-r--r--",
		"/usr/share/doc/gatehouse/ARCHITECTURE.md":        "-rw-r--r--",
		"/usr/share/doc/gatehouse/examples/topicmap.yaml": "-rw-r--r--",
	} {
		if listed[path] != mode {
			t.Errorf("%s has mode %q, want %q", path, listed[path], mode)
		}
	}
	if got := run(t, "dpkg-deb", "-I", deb, "conffiles"); got != "/etc/gatehouse/gatehoused.yaml\n/etc/gatehouse/managementd.yaml\n" {
		t.Errorf("conffiles: %q", got)
	}
}

// install lets the real dpkg run the real maintainer scripts for a root that
// holds nothing else.
func install(t *testing.T, deb string) {
	t.Helper()
	root := t.TempDir()
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "var/log", "etc"} {
		if err := os.MkdirAll(filepath.Join(root, dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, file := range []string{"var/lib/dpkg/status", "var/lib/dpkg/available"} {
		if err := os.WriteFile(filepath.Join(root, file), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	dpkg := func(args ...string) string {
		options := []string{"--root=" + root, "--force-script-chrootless", "--force-depends", "--log=" + filepath.Join(root, "log")}
		return run(t, "dpkg", append(options, args...)...)
	}
	if out := dpkg("-i", deb); !strings.Contains(out, "systemctl enable --now gatehoused") {
		t.Errorf("the first installation does not say what to do next:\n%s", out)
	}
	users := read(t, filepath.Join(root, "etc/passwd"))
	for _, user := range []string{"gatehouse:", "gatehouse-management:"} {
		if !strings.Contains(users, "\n"+user) && !strings.HasPrefix(users, user) {
			t.Errorf("no user %s in\n%s", user, users)
		}
	}
	conf := filepath.Join(root, "etc/gatehouse/gatehoused.yaml")
	if err := os.WriteFile(conf, []byte("# mine\n"), 0o640); err != nil {
		t.Fatal(err)
	}
	dpkg("-i", deb) // again: what the operator wrote stays
	if got := read(t, conf); got != "# mine\n" {
		t.Error("a reinstallation overwrote the operator's configuration")
	}
	state := filepath.Join(root, "var/lib/gatehouse")
	if err := os.MkdirAll(filepath.Join(state, "messages"), 0o700); err != nil {
		t.Fatal(err)
	}
	dpkg("--remove", "gatehouse")
	if _, err := os.Stat(filepath.Join(state, "messages")); err != nil {
		t.Error("removing the package removed messages that wait for delivery")
	}
	dpkg("--purge", "gatehouse")
	for _, gone := range []string{state, conf} {
		if _, err := os.Stat(gone); !os.IsNotExist(err) {
			t.Errorf("%s is still there after a purge: %v", gone, err)
		}
	}
}
