package tlsfile

import (
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// TestClientWaitsForItsAuthorities: a file that comes later, or is written half, is no reason to build no
// client, and none to believe anybody meanwhile.
func TestClientWaitsForItsAuthorities(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	file := filepath.Join(t.TempDir(), "ca.pem")
	client := Client(config.File(file))
	defer client.CloseIdleConnections()
	ask := func() error {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("x"))
		if err != nil {
			t.Fatal(err)
		}
		res, err := client.Do(req)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	chain := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := ask(); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("no file: %v", err)
	}
	for _, step := range []struct {
		text []byte
		ok   bool
	}{{chain[:100], false}, {chain, true}, {nil, true}} { // what was read once stays
		if err := os.WriteFile(file, step.text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := ask(); (err == nil) != step.ok {
			t.Errorf("%d bytes: %v", len(step.text), err)
		}
	}
	if err := Client("").Transport.(*http.Transport).TLSClientConfig.RootCAs; err != nil {
		t.Error("the system's authorities are not used")
	}
}
