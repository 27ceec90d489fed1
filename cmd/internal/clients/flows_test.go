package clients

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

// TestTheRealClients runs every client against one cloud, one after the other: they share the machine's two cores.
func TestTheRealClients(t *testing.T) {
	w := start(t)
	t.Run("azidentity in the gateway", w.gateway)
	t.Run("az", w.az)
	t.Run("msal for Python", w.python)
	t.Run("msal for Node.js", w.node)
	if log := w.Cloud.Text(); strings.Contains(log, "eyJ") {
		t.Errorf("a token is in the log of managementd:\n%s", log)
	}
}

// flows runs a script with every flow of a library, twice: for either API.
func (w *world) flows(t *testing.T, name string, args ...string) {
	t.Helper()
	one, two := w.thumbprints()
	const management = site.Management + "/.default"
	for scope, other := range map[string]string{deviceUpdate + "/.default": management, management: deviceUpdate + "/.default"} {
		out := w.run(t, w.env(
			"AUTHORITY="+w.endpoints["AUTHORITY"], "ARM="+w.endpoints["ARM"], "TENANT="+w.endpoints["TENANT"],
			"SCOPE="+scope, "OTHER="+other, "PUBLIC="+azureCLI, "USERNAME="+alice, "PASSWORD=alice",
			"KEY="+filepath.Join(w.dir, "builder.key"), "THUMBPRINT="+one, "THUMBPRINT256="+two,
			"BROWSER="+w.browser(t), "NODE_PATH="+os.Getenv("CLIENTS")+"/node_modules",
		), name, args...)
		var tokens map[string]string
		if err := json.Unmarshal([]byte(out), &tokens); err != nil || len(tokens) < 10 {
			t.Fatalf("%d tokens: %v\n%s", len(tokens), err, out)
		}
		for flow, token := range tokens {
			forUpdate := (scope != management) != strings.Contains(flow, "another resource")
			if forUpdate {
				w.opensUpdate(t, flow, token, 200)
				w.opensManagement(t, flow+", elsewhere", token, false)
			} else {
				w.opensManagement(t, flow, token, true)
				w.opensUpdate(t, flow+", elsewhere", token, 401)
			}
		}
	}
}

func (w *world) python(t *testing.T) { w.flows(t, "/usr/bin/python3", "testdata/msal_flows.py") }

func (w *world) node(t *testing.T) { w.flows(t, "node", "testdata/msal_flows.js") }

func (w *world) az(t *testing.T) {
	cloud := filepath.Join(w.dir, "cloud.json")
	config, err := json.Marshal(map[string]any{"endpoints": map[string]string{
		"resourceManager":                w.endpoints["ARM"],
		"management":                     w.endpoints["ARM"] + "/",
		"activeDirectory":                w.endpoints["AUTHORITY"],
		"activeDirectoryResourceId":      w.endpoints["ARM"] + "/",
		"activeDirectoryGraphResourceId": w.endpoints["GRAPH"],
		"microsoftGraphResourceId":       w.endpoints["GRAPH"],
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(cloud, config, 0o600); err != nil {
		t.Fatal(err)
	}
	az := func(env []string, args ...string) string {
		t.Helper()
		return w.run(t, append(w.env("BROWSER="+w.browser(t)), env...), "az", args...)
	}
	az(nil, "cloud", "register", "--name", "gatehouse", "--cloud-config", "@"+cloud)
	az(nil, "cloud", "set", "--name", "gatehouse")

	pem := filepath.Join(w.dir, "both.pem")
	var both []byte
	for _, name := range []string{"builder.key", "builder.pem"} {
		b, err := os.ReadFile(filepath.Join(w.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		both = append(both, b...)
	}
	if err := os.WriteFile(pem, both, 0o600); err != nil {
		t.Fatal(err)
	}
	secret, err := os.ReadFile(w.endpoints["IDENTITY_SECRET"])
	if err != nil {
		t.Fatal(err)
	}
	appService := []string{"APPSETTING_WEBSITE_SITE_NAME=x", "MSI_ENDPOINT=" + w.endpoints["IDENTITY"], "MSI_SECRET=" + string(secret)}
	principal := func(id, secret string) []string {
		return []string{"--service-principal", "-u", id, "-p", secret, "--tenant", w.endpoints["TENANT"]}
	}
	for _, flow := range []struct {
		name  string
		env   []string
		login []string
		may   bool
	}{
		{"device code", nil, []string{"--use-device-code"}, true},
		{"browser", nil, nil, true},
		{"secret", nil, principal("builder", "builder"), true},
		{"certificate", nil, principal("builder", pem), true},
		{"identity", appService, []string{"--identity"}, true},
		{"a user without the right", nil, []string{"-u", dave, "-p", "dave"}, false},
		{"a service principal without the right", nil, principal("guest", "guest"), false},
	} {
		az(flow.env, append([]string{"login", "--allow-no-subscriptions"}, flow.login...)...)
		token := func(resource string) string {
			out := az(flow.env, "account", "get-access-token", "--resource", resource)
			var answer struct {
				AccessToken string `json:"accessToken"`
			}
			if err := json.Unmarshal([]byte(out), &answer); err != nil || answer.AccessToken == "" {
				t.Fatalf("%s: %v: %s", flow.name, err, out)
			}
			return answer.AccessToken
		}
		status := 403
		if flow.may {
			status = 200
		}
		w.opensUpdate(t, flow.name, token(deviceUpdate), status)
		w.opensManagement(t, flow.name, token(site.Management), flow.may)
		if flow.name == "secret" {
			out := az(nil, "ad", "sp", "show", "--id", "builder")
			if !strings.Contains(out, builderID) {
				t.Errorf("az ad sp show: %s", out)
			}
		}
		az(flow.env, "logout")
	}
	wrong := append([]string{"login", "--allow-no-subscriptions"}, principal("builder", "guess")...)
	if out, err := w.try(t, w.env(), "az", wrong...); err == nil {
		t.Errorf("a wrong secret: %s", out)
	} else if !strings.Contains(err.Error(), "AADSTS7000215") {
		t.Errorf("a wrong secret is not named: %v", err)
	}
}
