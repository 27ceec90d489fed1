package packaging

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestVersionsRise holds the packages of successive commits in the order in which dpkg upgrades: each
// commit above the one before it, the release above all that led to it, and what follows it above the release.
func TestVersionsRise(t *testing.T) {
	need(t, "dpkg")
	need(t, "git")
	top := t.TempDir()
	copyScripts(t, top)
	git := func(args ...string) {
		t.Helper()
		run(t, "git", append([]string{"-C", top, "-c", "user.name=test", "-c", "user.email=test@test.invalid"}, args...)...)
	}
	version := func() string {
		return strings.TrimSpace(run(t, filepath.Join(top, "packaging/deb.sh"), "--debian-version"))
	}
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(top, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	git("init", "-q")
	order := []string{"0~git.ecbebfd"} // what packages were called before versions were counted
	write("VERSION", "0.9.0\n")
	for i := range 11 { // 9 and 10 sort as numbers, not as text
		write("file", strings.Repeat("x", i))
		git("add", ".")
		git("commit", "-q", "-m", "change")
		order = append(order, version())
	}
	git("tag", "v0.9.0")
	order = append(order, version())
	write("VERSION", "0.10.0\n")
	git("commit", "-q", "-a", "-m", "next")
	order = append(order, version())
	for i := range order[1:] {
		older, newer := order[i], order[i+1]
		if err := exec.CommandContext(t.Context(), "dpkg", "--compare-versions", newer, "gt", older).Run(); err != nil {
			t.Errorf("dpkg takes %s for no newer than %s: it would refuse the upgrade", newer, older)
		}
	}

	shallow := t.TempDir()
	run(t, "git", "clone", "-q", "--depth", "1", "file://"+top, shallow)
	out, err := exec.CommandContext(t.Context(), filepath.Join(shallow, "packaging/version.sh")).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "--unshallow") {
		t.Errorf("a shallow clone, which knows one commit of eleven, was given a version: %s", out)
	}
}

// TestNoVersionWhereGitRefuses: an unreadable history must not make any commit's package the release.
func TestNoVersionWhereGitRefuses(t *testing.T) {
	need(t, "git")
	top := t.TempDir()
	copyScripts(t, top)
	if err := os.WriteFile(filepath.Join(top, "VERSION"), []byte("0.9.0\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(top, "packaging/version.sh")
	if got := strings.TrimSpace(run(t, script)); got != "0.9.0" {
		t.Errorf("sources without git are %q", got)
	}
	if err := os.WriteFile(filepath.Join(top, ".git"), []byte("gitdir: nowhere\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), script).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "fatal: ") {
		t.Errorf("a history that git cannot read was given a version, or git's words are lost: %v, %s", err, out)
	}
}

func copyScripts(t *testing.T, top string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(top, "packaging"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, script := range []string{"deb.sh", "version.sh"} {
		if err := os.WriteFile(filepath.Join(top, "packaging", script), []byte(read(t, script)), 0o755); err != nil {
			t.Fatal(err)
		}
	}
}
