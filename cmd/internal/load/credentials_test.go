package load_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/device/credential/x509"
)

func write(t *testing.T, file, text string) string {
	t.Helper()
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestReadClients(t *testing.T) {
	dir := t.TempDir()
	ca, err := x509.NewCA("test", time.Now().Add(-time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	cert, key, err := ca.PEM()
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "c.pem"), string(cert))
	write(t, filepath.Join(dir, "c.key"), string(key))
	clients, err := load.ReadClients(write(t, filepath.Join(dir, "clients"), `# the hall
a, hub/a/?api-version=2021-04-12, SharedAccessSignature sr=x&sig=y%3D&se=1

b,user,"a, ""quoted"" one"
c,,,c.pem,c.key
`))
	if err != nil {
		t.Fatal(err)
	}
	if len(clients) != 3 || clients[0].Password != "SharedAccessSignature sr=x&sig=y%3D&se=1" ||
		clients[1].Password != `a, "quoted" one` || clients[2].Cert == nil {
		t.Errorf("%+v", clients)
	}
}

// TestBadLines: every bad line is named, by number and reason, and the good ones beside them are not.
func TestBadLines(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "clients"), strings.Join([]string{
		"good,u,p",
		"only,two",
		",u,p",
		"good,u,p",
		"cert,u,p,nowhere.pem,nowhere.key",
		"half,u,p,c.pem,",
		`quote,u,"p`,
		"nul\x00,u,p",
		"long,u," + strings.Repeat("x", 65536),
	}, "\n"))
	_, err := load.ReadClients(file)
	if err == nil {
		t.Fatal("bad lines were taken")
	}
	got := strings.Split(err.Error(), "\n")
	want := []string{
		"2: has 2 fields", "3: the client id is empty", "4: the client id \"good\" stands in line 1 already",
		"5: ", "6: the certificate ", "7: ", "8: the client id is not UTF-8", "9: the password is longer",
	}
	if len(got) != len(want) {
		t.Fatalf("%d complaints, want %d:\n%v", len(got), len(want), err)
	}
	for i := range want {
		if !strings.HasPrefix(got[i], fmt.Sprintf("%s:%s", file, want[i])) {
			t.Errorf("got %q, want …%q", got[i], want[i])
		}
	}
	for _, text := range []string{"", "# nobody\n"} {
		if _, err := load.ReadClients(write(t, file, text)); err == nil || !strings.Contains(err.Error(), "holds no client") {
			t.Errorf("an empty file: %v", err)
		}
	}
}
