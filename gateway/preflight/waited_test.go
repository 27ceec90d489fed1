package preflight

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// TestFilesOfLinksAreWaitedFor: whether they are missing or damaged, they are warnings, each by its own field and once.
func TestFilesOfLinksAreWaitedFor(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	cfg := config.Default()
	cfg.State.Dir = config.File(dir)
	cfg.Identity.JWKS.File, cfg.Identity.JWKS.CA = config.File(file), config.File(file)
	cfg.Cloud.Management.CA, cfg.DeviceUpdate.CA = config.File(file), config.File(file)
	links := map[string]func(*config.Config){
		"upstream.iothub.gatewayDevice.sasKey": func(c *config.Config) {
			c.Upstream.Mode = config.UpstreamIoTHub
			c.Upstream.IoTHub.GatewayDevice.SASKey = config.SecretFile(file)
		},
		"upstream.mqtt.ca": func(c *config.Config) {
			c.Upstream.Mode, c.Upstream.MQTT.URL = config.UpstreamMQTT, "mqtts://host"
			c.Upstream.MQTT.CA = config.File(file)
		},
	}
	for field, set := range links {
		c := cfg
		set(&c)
		want := []string{"cloud.management.ca", "deviceUpdate.ca", "identity.jwks.ca", "identity.jwks.file", field}
		for _, text := range []string{"", "damaged: no PEM, no JSON, no base64"} {
			if text == "" {
				_ = os.Remove(file)
			} else if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			problems, warnings := Look(&c, nil, func(*config.Config) error { return nil })
			got := fieldsOf(warnings)
			slices.Sort(got)
			if len(problems) > 0 || !slices.Equal(got, want) {
				t.Errorf("%q: problems %v, warnings of %v, want %v", text, problems, got, want)
			}
			for _, w := range warnings {
				if !w.Warning || w.Hint == "" {
					t.Errorf("%q: %+v", text, w)
				}
			}
		}
	}
}

// TestWaitedForNamesSettings: a field that is misspelt would be waited for by nobody.
func TestWaitedForNamesSettings(t *testing.T) {
	none, all := config.Default(), config.Default()
	all.Identity.JWKS.File, all.Identity.JWKS.CA = "x", "x"
	all.Cloud.Management.CA, all.DeviceUpdate.CA = "x", "x"
	hub, mqtt := &all.Upstream.IoTHub, &all.Upstream.MQTT
	hub.CA, hub.GatewayDevice.Cert, hub.GatewayDevice.Key, hub.GatewayDevice.SASKey = "x", "x", "x", "x"
	mqtt.CA, mqtt.Cert, mqtt.Key = "x", "x", "x"
	if fields := config.Differences(&none, &all); !slices.Equal(fields, waitedFor) {
		t.Errorf("the settings are %v, waited for are %v", fields, waitedFor)
	}
}
