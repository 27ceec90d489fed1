package config

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatehouse/gatehouse/device/space"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func credentials(name string) string {
	if name == "CREDENTIALS_DIRECTORY" {
		return "/run/credentials/gatehoused.service"
	}
	return ""
}

// TestBad compares everything that is reported about each broken file with
// its golden file: what, where, and the fix.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no bad configurations", err)
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			_, problems := load(f, func(string) string { return "" })
			var b strings.Builder
			for _, p := range problems {
				b.WriteString(p.String() + "\n")
				if p.Hint == "" || p.Message == "" || p.File != f {
					t.Errorf("problem without file, message or fix: %+v", p)
				}
			}
			golden(t, strings.TrimSuffix(f, ".yaml")+".golden", b.String())
			if strings.Contains(b.String(), "c3VwZXItc2VjcmV0") {
				t.Error("a secret pasted into the file is repeated in the report")
			}
		})
	}
}

// TestOld: what an earlier release accepted is read, with the same effect, and
// every warning names the line and what to write instead.
func TestOld(t *testing.T) {
	c, problems := load("testdata/old/v1.yaml", credentials)
	for _, p := range problems {
		t.Error(p)
	}
	if c.Limits.MaxPacket != 8*KiB || c.Limits.MaxTopicLevels != 20 || c.Limits.MaxFilters != 300 || c.Limits.TopicAliasMaximum != 16 {
		t.Errorf("%+v", c.Limits)
	}
	var b strings.Builder
	for _, w := range c.Warnings() {
		if !w.Warning || w.Hint == "" {
			t.Errorf("%+v", w)
		}
		b.WriteString(w.String() + "\n")
	}
	golden(t, "testdata/old/v1.golden", b.String())
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestGood(t *testing.T) {
	c, problems := load("testdata/good/full.yaml", credentials)
	for _, p := range problems {
		t.Error(p)
	}
	dir, err := filepath.Abs("testdata/good")
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Listeners[0].TLS.Key; got != "/run/credentials/gatehoused.service/server.key" {
		t.Errorf("credential resolved to %q", got)
	}
	if got := c.Listeners[0].TLS.Cert; string(got) != filepath.Join(dir, "server.crt") {
		t.Errorf("relative file resolved to %q", got)
	}
	l := DefaultLimits()
	l.MaxPacket, l.MaxPerAddress = 64*KiB, 2048
	if diff := cmp.Diff(l, c.Limits); diff != "" {
		t.Errorf("limits: the section keeps the defaults it does not name\n%s", diff)
	}
	if diff := cmp.Diff(l.ListenerLimits, c.Listeners[1].Limits); diff != "" {
		t.Errorf("limits: a listener has the shared ones that it does not name\n%s", diff)
	}
	if l.MaxConnectPacket = 8 * KiB; c.Listeners[0].Limits != l.ListenerLimits {
		t.Errorf("limits: a listener's own: %+v", c.Listeners[0].Limits)
	}
	if c.Offline.Expired != 36*time.Hour || !c.Access.DeviceSelfGrant || !c.Listeners[0].Filtered {
		t.Errorf("values not read: %+v %+v", c.Offline, c.Access)
	}
	if c.Instance.Site != space.MustPath("/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e2001/7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e2002") {
		t.Errorf("site %q", c.Instance.Site)
	}
	if got := c.Problem("listeners[1].tls.cert", "x", "y"); got.Line != 14 {
		t.Errorf("a missing field is reported at line %d, want that of its listener", got.Line)
	}
}

// TestShipped loads the configuration that the package installs.
func TestShipped(t *testing.T) {
	c, problems := load("../../configs/gatehoused.yaml", credentials)
	for _, p := range problems {
		t.Error(p)
	}
	// What the file shows as the default must be the default.
	d := Default()
	if c.Offline != d.Offline || c.Audit != d.Audit || !reflect.DeepEqual(c.DeviceUpdate, d.DeviceUpdate) || c.Outbox != d.Outbox {
		t.Error("configs/gatehoused.yaml and Default disagree")
	}
}

func TestRedacted(t *testing.T) {
	c, _ := load("testdata/good/full.yaml", credentials)
	before := c.Listeners[0].TLS.Key
	r := c.Redacted()
	text, err := r.YAML()
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{"/run/credentials", "key=hidden"} {
		if strings.Contains(string(text), secret) {
			t.Errorf("%q is shown in\n%s", secret, text)
		}
	}
	if c.Listeners[0].TLS.Key != before {
		t.Error("redacting the copy changed the original")
	}
}

// TestYAML: what YAML writes, Load reads back as the same configuration.
func TestYAML(t *testing.T) {
	c, _ := load("testdata/good/full.yaml", credentials)
	text, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	f := filepath.Join(t.TempDir(), "again.yaml")
	if err := os.WriteFile(f, text, 0o600); err != nil {
		t.Fatal(err)
	}
	again, problems := load(f, credentials)
	for _, p := range problems {
		t.Error(p)
	}
	if diff := cmp.Diff(c, again, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty(), cmp.AllowUnexported(space.Path{})); diff != "" {
		t.Error(diff)
	}
}

func TestCheckFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, mode os.FileMode) File {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, []byte(" value\n"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(f, mode); err != nil {
			t.Fatal(err)
		}
		return File(f)
	}
	c := Default()
	c.Listeners = []Listener{{TLS: &TLS{Cert: write("crt", 0o644), Key: SecretFile(write("key", 0o604))}}}
	c.Identity.JWKS.File = File(filepath.Join(dir, "absent"))
	var fields []string
	for _, p := range c.CheckFiles() {
		fields = append(fields, p.Field)
	}
	if diff := cmp.Diff([]string{"listeners[0].tls.key", "identity.jwks.file"}, fields); diff != "" {
		t.Error(diff)
	}
	if _, err := c.Listeners[0].TLS.Key.Read(); err == nil {
		t.Error("a secret that everyone may read was read")
	}
	got, err := SecretFile(write("good", 0o600)).Read()
	if err != nil || string(got) != "value" {
		t.Errorf("Read = %q, %v", got, err)
	}
}

// TestRemediesOfTheUnit: under systemd a remedy names what works there.
func TestRemediesOfTheUnit(t *testing.T) {
	for name, env := range map[string]func(string) string{"shell": func(string) string { return "" }, "unit": credentials} {
		c, problems := load("testdata/files/absent.yaml", env)
		var b strings.Builder
		for _, p := range append(problems, c.CheckFiles()...) {
			b.WriteString(p.String() + "\n")
		}
		b.WriteString("state.dir\n\tfix: " + c.Place().Writable("/srv/state") + "\n")
		golden(t, "testdata/files/"+name+".golden", b.String())
	}
	for _, variable := range []string{"NOTIFY_SOCKET", "INVOCATION_ID", "CREDENTIALS_DIRECTORY"} {
		if !placeOf(func(name string) string { return map[string]string{variable: "x"}[name] }).unit {
			t.Errorf("%s does not tell of a unit", variable)
		}
	}
}

func TestAbsentFile(t *testing.T) {
	_, problems := load(filepath.Join(t.TempDir(), "no.yaml"), credentials)
	if len(problems) != 1 || !strings.Contains(problems[0].Message, "no such file") {
		t.Errorf("got %v, want one problem that names the file", problems)
	}
}

func TestParseDuration(t *testing.T) {
	for in, want := range map[string]time.Duration{"30d": 720 * time.Hour, "1d12h": 36 * time.Hour, "500ms": 500 * time.Millisecond, "0": 0} {
		if got, err := ParseDuration(in); err != nil || got != want {
			t.Errorf("%q = %v, %v", in, got, err)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 500 * time.Millisecond: "500ms", 90 * time.Second: "1m30s", time.Hour: "1h", 36 * time.Hour: "36h",
		90 * time.Minute: "1h30m", 15 * time.Minute: "15m", 168 * time.Hour: "7d",
	} {
		if got := FormatDuration(d); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
		if back, err := ParseDuration(want); err != nil || back != d {
			t.Errorf("%q is read as %v, %v", want, back, err)
		}
	}
	if got, err := ParseDuration(" 5s "); err != nil || got != 5*time.Second {
		t.Errorf("blanks around: %v, %v", got, err)
	}
	for _, in := range []string{"", "5", "-5s", "d", "-1d", "36501d", "1d-1h", "1d2d", "soon"} {
		if got, err := ParseDuration(in); err == nil {
			t.Errorf("%q = %v, want an error", in, got)
		}
	}
}

func TestParseSize(t *testing.T) {
	for in, want := range map[string]Size{"0": 0, "4096": 4096, "64KiB": 65536, "1 GiB": GiB, "5 MB": 5000000, "7B": 7} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("%q = %v, %v", in, got, err)
		}
	}
	for _, in := range []string{"", "MiB", "-1", "1.5 MiB", "9223372036854775807 KiB", "1 mib"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("%q = %v, want an error", in, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, pattern := range []string{"testdata/bad/*.yaml", "testdata/good/*.yaml"} {
		files, _ := filepath.Glob(pattern)
		for _, name := range files {
			b, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(b)
		}
	}
	f.Add([]byte("a: &x [*x, *x]"))
	f.Add([]byte("? [a]\n: b"))
	f.Add([]byte("!!binary x"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := Default()
		src, problems := decodeText(newSource("f"), b, &c, credentials)
		c.src = src
		problems = c.finish(problems)
		for _, p := range problems {
			if p.Message == "" || p.Hint == "" || p.File == "" {
				t.Fatalf("incomplete problem %+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		if _, err := c.YAML(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCheckWithoutTheCredentials: whoever is not the service is told what was not seen, and not that it is wrong.
func TestCheckWithoutTheCredentials(t *testing.T) {
	nothing := func(string) string { return "" }
	if _, problems := load("testdata/good/full.yaml", nothing); len(problems) == 0 {
		t.Error("the service itself starts without its credentials")
	}
	c, problems := loadInto(newSource("testdata/good/full.yaml"), nothing, true)
	for _, p := range problems {
		t.Error(p)
	}
	want := []string{"listeners[0].tls.key", "api.tls.key"}
	var warned []string
	for _, w := range c.Warnings() {
		warned = append(warned, w.Field)
		if !w.Warning || !strings.Contains(w.Message, "was not looked at: ${CREDENTIALS_DIRECTORY}/server.key") ||
			!strings.Contains(w.Hint, "systemd-run") {
			t.Errorf("%v", w)
		}
	}
	if diff := cmp.Diff(want, warned); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, c.Unseen()); diff != "" {
		t.Error(diff)
	}
	if c, _ := loadInto(newSource("testdata/good/full.yaml"), credentials, true); len(c.Unseen()) > 0 {
		t.Errorf("with the credentials: %v", c.Unseen())
	}
}
