package clients

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	josejwt "github.com/go-jose/go-jose/v4/jwt"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

// federate makes a cluster that vouches for builder: its key set, and the token that a pod would find in a file.
func (w *world) federate(t *testing.T) {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	set, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key.Public(), KeyID: "k", Algorithm: "RS256", Use: "sig"}}})
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.RS256, Key: jose.JSONWebKey{Key: key, KeyID: "k"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	token, err := josejwt.Signed(signer).Claims(map[string]any{
		"iss": "https://cluster.example", "sub": "pod", "aud": "api://AzureADTokenExchange", "exp": time.Now().Add(time.Hour).Unix(),
	}).Serialize()
	if err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"cluster.json": set, "pod.token": []byte(token)} {
		if err := os.WriteFile(filepath.Join(w.dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// credentialSection is the gateway's credential in the configuration of the demo site.
var credentialSection = regexp.MustCompile(`(?s)    credential:\n.*?\nstate:`)

// gateway is azidentity inside gatehoused, by every kind of credential: each follows the cloud's policy.
func (w *world) gateway(t *testing.T) {
	secret, err := os.ReadFile(w.endpoints["IDENTITY_SECRET"])
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) string {
		file := filepath.Join(w.dir, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	wrong, right := write("wrong.secret", "guess"), write("builder.secret", "builder")
	application := "clientId: builder, tenantId: " + w.endpoints["TENANT"] + ", authority: \"" + w.endpoints["ARM"] + "\""
	for kind, keys := range map[string]string{
		"client-secret": application + ", clientSecret: " + right,
		"client-certificate": application + ", certificate: " + filepath.Join(w.dir, "builder.pem") +
			", key: " + filepath.Join(w.dir, "builder.key"),
		"workload-identity": application + ", federatedTokenFile: " + filepath.Join(w.dir, "pod.token"),
		"managed-identity":  "clientId: c11e0000-0000-4000-8000-0000000000b2",
		"device-code":       "clientId: " + azureCLI + ", tenantId: " + w.endpoints["TENANT"] + ", authority: \"" + w.endpoints["ARM"] + "\"",
	} {
		t.Run(kind, func(t *testing.T) {
			g := w.newGateway(t, kind, keys)
			g.Launch(t, "IDENTITY_ENDPOINT="+w.endpoints["IDENTITY"], "IDENTITY_HEADER="+string(secret), "NO_PROXY=*")
			if kind == "device-code" {
				w.approve(userCode.FindStringSubmatch(g.Line(t, "enter the code"))[1])
			}
			g.Synced(t)
			if log := g.Text(); strings.Contains(log, "eyJ") || strings.Contains(log, string(secret)) {
				t.Errorf("a token or secret is in the log:\n%s", log)
			}
		})
	}
	t.Run("a wrong secret is named, and the right one heals it", func(t *testing.T) {
		g := w.newGateway(t, "client-secret", application+", clientSecret: "+wrong)
		g.Launch(t)
		e2e.Eventually(t, "the warning", func() error {
			if text := g.Text(); !strings.Contains(text, "401 invalid_client") {
				return fmt.Errorf("%s", e2e.Tail(text, 5))
			}
			return nil
		})
		write("wrong.secret", "builder")
		g.Synced(t)
	})
}

func (w *world) newGateway(t *testing.T, kind, keys string) *e2e.Gateway {
	t.Helper()
	g := w.NewGateway(t, e2e.Settings{})
	section := fmt.Sprintf("    credential: {kind: %s, %s, scope: %s/.default}\nstate:", kind, keys, site.Management)
	g.Write(t, credentialSection.ReplaceAllLiteralString(g.Config(e2e.Settings{}), section))
	return g
}
