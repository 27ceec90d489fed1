package config

import (
	"fmt"
	"strings"
	"testing"
)

// TestNoURLShowsASecret: user info, query and fragment of a URL may hold a token, whichever setting it is, and
// however the URL is written. Neither what is shown of a configuration nor what is said about it repeats them.
func TestNoURLShowsASecret(t *testing.T) {
	const secret = "s3cret"
	for _, form := range []string{
		"https://u:%s@host.example/keys",
		"https://%s@host.example/keys",
		"https://host.example/keys?code=%s",
		"https://host.example/keys?%s",
		"https://host.example/keys#%s",
		"https://host.example/keys?a=1#%s",
		"mqtts://u:%s@host.example:8883",
		"wss://host.example/mqtt?token=%s",
		"HTTPS://u:%s@host.example/",
		"//u:%s@host.example/",
		"https:u:%s@host.example",
		"u:%s@host.example",
		"https://u:%s@host.example/%%zz",
		"https://u:%s@host.example:port/",
		"https://u:a/%s@host.example/",
		" https://u:%s@host.example/",
		"https://host.example/\x7f?code=%s",
	} {
		value := fmt.Sprintf(form, secret)
		cfg := Default()
		cfg.Identity.JWKS.URL = value
		cfg.Identity.Tenants = []Tenant{{Issuers: []string{value}}}
		cfg.Cloud.Management.URL = value
		cfg.Cloud.Management.Credential.Kind, cfg.Cloud.Management.Credential.TokenURL = CredentialClientSecret, value
		cfg.DeviceUpdate.Endpoint = value
		cfg.Upstream.Mode, cfg.Upstream.MQTT.URL = UpstreamMQTT, value
		cfg.Listeners = []Listener{{Name: "web", Kind: KindWebSocket, Origins: []string{value}}}
		shown := cfg.Redacted()
		text, err := shown.YAML()
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), secret) {
			for line := range strings.Lines(string(text)) {
				if strings.Contains(line, secret) {
					t.Errorf("%q is shown: %s", value, line)
				}
			}
		}
		if own, err := cfg.YAML(); err != nil || !strings.Contains(string(own), secret) {
			t.Errorf("%q: the original lost it, %v", value, err)
		}
		for _, p := range cfg.Validate() {
			if strings.Contains(p.String(), secret) {
				t.Errorf("%q: %s", value, p)
			}
		}
	}
}
