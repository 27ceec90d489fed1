package config

import (
	"strings"
	"testing"
)

func TestAPIAndEndpoint(t *testing.T) {
	good := func() Config {
		c, problems := load("testdata/good/full.yaml", credentials)
		for _, p := range problems {
			t.Fatal(p)
		}
		return c
	}
	if c := good(); c.API.Address != "0.0.0.0:8444" || c.API.TLS.MinVersion != "1.3" || c.Instance.DeviceUpdate.Name() != "i" {
		t.Errorf("%+v %q", c.API, c.Instance.DeviceUpdate.Name())
	}
	for name, k := range map[string]struct {
		change func(*Config)
		field  string
	}{
		"no TLS":             {func(c *Config) { c.API.TLS = nil }, "api.tls"},
		"no TLS on loopback": {func(c *Config) { c.API.TLS, c.API.Address = nil, "127.0.0.1:1" }, "api.tls"},
		"no key":             {func(c *Config) { c.API.TLS.Key = "" }, "api.tls"},
		"client CA":          {func(c *Config) { c.API.TLS.ClientCA = "x" }, "api.tls.clientCA"},
		"version":            {func(c *Config) { c.API.TLS.MinVersion = "1.1" }, "api.tls.minVersion"},
		"no port":            {func(c *Config) { c.API.Address = "host" }, "api.address"},
		"only TLS":           {func(c *Config) { c.API.Address = "" }, "api.address"},
		"taken":              {func(c *Config) { c.API.Address = c.Listeners[0].Address }, "api.address"},
		"no instance":        {func(c *Config) { c.Instance.DeviceUpdate.ARMScope = "" }, "instance.deviceUpdate.armScope"},
		"an account": {func(c *Config) {
			c.Instance.DeviceUpdate.ARMScope = "/subscriptions/s/resourceGroups/g/providers/P/accounts/a"
		}, "instance.deviceUpdate.armScope"},
		"no audience":     {func(c *Config) { c.Identity.Audiences.DeviceUpdate = nil }, "identity.audiences.deviceUpdate"},
		"no tenants":      {func(c *Config) { c.Identity.Tenants = nil }, "identity.tenants"},
		"plain endpoint":  {func(c *Config) { c.DeviceUpdate.Endpoint = "http://127.0.0.1:1" }, "deviceUpdate.endpoint"},
		"endpoint's path": {func(c *Config) { c.DeviceUpdate.Endpoint = "https://h/x" }, "deviceUpdate.endpoint"},
		"endpoint's user": {func(c *Config) { c.DeviceUpdate.Endpoint = "https://u@h" }, "deviceUpdate.endpoint"},
		"query":           {func(c *Config) { c.DeviceUpdate.Endpoint = "https://h?x=1" }, "deviceUpdate.endpoint"},
		"no host":         {func(c *Config) { c.DeviceUpdate.Endpoint = "https:" }, "deviceUpdate.endpoint"},
		"CA alone":        {func(c *Config) { c.DeviceUpdate.Endpoint = "" }, "deviceUpdate.ca"},
	} {
		c := good()
		k.change(&c)
		var fields []string
		for _, p := range c.Validate() {
			fields = append(fields, p.Field)
		}
		if strings.Join(fields, " ") != k.field {
			t.Errorf("%s: %v, want %s", name, fields, k.field)
		}
	}
}
