package inspect_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
)

// finding is the one of a name whose text has a part; its state is "" if there is none.
func finding(h *fixture, t *testing.T, name, part string) admin.Finding {
	t.Helper()
	list := h.inspector.Doctor(t.Context())
	i := slices.IndexFunc(list, func(f admin.Finding) bool { return f.Name == name && strings.Contains(f.Text, part) })
	if i < 0 {
		return admin.Finding{}
	}
	return list[i]
}

// A notice of health is a notice of doctor, with health's own words.
func TestDoctorRepeatsHealth(t *testing.T) {
	h := newFixture(t)
	h.report.Warnings = []health.Warning{{Name: "restart-needed", Severity: health.Notice, Text: "changed: log", Next: "restart"}}
	if f := finding(h, t, "restart-needed", ""); f.State != "notice" || f.Text != "changed: log" || f.Next != "restart" {
		t.Errorf("%+v", f)
	}
	h.report.Warnings = []health.Warning{{Name: "clock-jump", Severity: health.Degraded}}
	if f := finding(h, t, "clock", ""); f.State != "" {
		t.Errorf("the clock is called good while health warns of it: %+v", f)
	}
}

func TestDoctorLooksAtTheDisk(t *testing.T) {
	h := newFixture(t)
	dir := string(h.config.State.Dir)
	if err := os.Chmod(dir, 0o750); err != nil { //nolint:gosec // that is what doctor must see
		t.Fatal(err)
	}
	if f := finding(h, t, "state-directory", "0750"); f.State != "warn" || f.Next != "chmod 0700 "+dir {
		t.Errorf("a directory that others read: %+v", f)
	}
	if err := os.Chmod(dir, 0o700); err != nil { //nolint:gosec // a directory
		t.Fatal(err)
	}
	if f := finding(h, t, "state-directory", "0700"); f.State != "ok" {
		t.Errorf("%+v", f)
	}
	h.config.State.Dir = "/nowhere/at/all"
	if f := finding(h, t, "state-directory", ""); f.State != "fail" {
		t.Errorf("a directory that is gone: %+v", f)
	}
	h.disk.Free = 100 << 20
	if f := finding(h, t, "space", "100 MiB are free"); f.State != "notice" || !strings.Contains(f.Next, "outbox.maxBytes") {
		t.Errorf("little space: %+v", f)
	}
}

func TestDoctorLooksAtFilesAndLimits(t *testing.T) {
	h := newFixture(t)
	if f := finding(h, t, "files", ""); f.State != "ok" {
		t.Errorf("%+v", f)
	}
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("s"), 0o644); err != nil { //nolint:gosec // that is what doctor must see
		t.Fatal(err)
	}
	h.config.Upstream.MQTT.Password = config.SecretFile(secret)
	if f := finding(h, t, "file-upstream.mqtt.password", ""); f.State != "fail" || f.Next != "chmod 0600 "+secret {
		t.Errorf("a secret that everybody reads: %+v", f)
	}
	h.config.Listeners = []config.Listener{{}}
	h.config.Listeners[0].Limits.MaxConnections = 1 << 40
	if f := finding(h, t, "descriptors", ""); f.State != "warn" || !strings.Contains(f.Next, "LimitNOFILE") {
		t.Errorf("more connections than descriptors: %+v", f)
	}
	h.config.Listeners[0].Limits.MaxConnections = 1
	if f := finding(h, t, "descriptors", ""); f.State != descriptors(t) {
		t.Errorf("one connection: %+v", f)
	}
}

// TestDoctorNamesDevicesThatNeverConnect: one row for each reason.
func TestDoctorNamesDevicesThatNeverConnect(t *testing.T) {
	site := space.Root.Join(num(2))
	ca, err := x509.NewCA("ca", time.Now().Add(-time.Hour), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	sas := device.Auth{Kind: device.AuthSAS, Primary: device.Secret("key")}
	thumb := device.Auth{Kind: device.AuthSelfSigned, Thumbprints: []device.Thumbprint{{1}}}
	for _, c := range []struct {
		name   string
		device device.Device
		change func(*fixture)
		others func(device.Device) []device.Device // the device among others; nil: it is alone
		want   string                              // a part of the text; "": it can connect
		state  string
	}{
		{name: "a key", device: device.Device{Auth: sas}},
		{name: "disabled", device: device.Device{Auth: sas, Status: device.Disabled}, want: "record is disabled", state: "notice"},
		{name: "nothing", device: device.Device{}, want: "no way to prove", state: "warn"},
		{name: "nothing, but a gateway", device: device.Device{GatewayID: "gw"}, others: func(d device.Device) []device.Device {
			gw := device.Device{ID: d.ID, HubID: "gw", Space: num(2), Status: device.Active, Auth: sas}
			d.ID = num(21)
			return []device.Device{d, gw}
		}},
		{name: "no right", device: device.Device{Auth: sas}, others: func(d device.Device) []device.Device {
			d.ID = num(21)
			return []device.Device{d}
		}, want: "they are denied: no-assignment", state: "warn"},
		{name: "nothing, but a module", device: device.Device{Modules: []device.Module{{ID: "m", Auth: sas}}}},
		{name: "no key here", device: device.Device{Auth: device.Auth{Kind: device.AuthSAS}}, want: "none of their keys", state: "warn"},
		{name: "no thumbprint", device: device.Device{Auth: device.Auth{Kind: device.AuthSelfSigned}},
			want: "names no thumbprint", state: "warn"},
		{name: "SHA-1", device: device.Device{Auth: device.Auth{Kind: device.AuthSelfSigned, ThumbprintsSHA1: []device.ThumbprintSHA1{{1}}}},
			want: "only a SHA-1", state: "warn"},
		{name: "SHA-1 that is allowed", device: device.Device{Auth: device.Auth{Kind: device.AuthSelfSigned,
			ThumbprintsSHA1: []device.ThumbprintSHA1{{1}}}}, change: func(h *fixture) { h.config.Identity.X509.AllowSHA1 = true }},
		{name: "no authority", device: device.Device{Auth: device.Auth{Kind: device.AuthCA}}, want: "no certificate authority", state: "warn"},
		{name: "an authority", device: device.Device{ID: num(99), Auth: device.Auth{Kind: device.AuthCA}}},
		{name: "a thumbprint", device: device.Device{Auth: thumb}},
		{name: "a thumbprint without TLS", device: device.Device{Auth: thumb},
			change: func(h *fixture) { h.config.Listeners[0].TLS = nil }, want: "no listener has TLS", state: "warn"},
	} {
		h := newFixture(t)
		d := c.device
		d.HubID, d.Name, d.Space = "meter", "meter", num(2)
		data := device.Data{Spaces: []device.Space{{ID: num(2), Name: "b", Path: site}}}
		if d.ID == num(99) {
			data.CAs = []device.CA{{ID: num(50), Path: site, DER: ca.Cert.Raw}}
		}
		if d.ID = num(20); d.Status == 0 {
			d.Status = device.Active
		}
		data.Devices = []device.Device{d}
		if c.others != nil {
			data.Devices = c.others(d)
		}
		h.topology, _ = device.NewTopology(data, device.Options{})
		h.config.Listeners = []config.Listener{{TLS: &config.TLS{}}}
		if c.change != nil {
			c.change(h)
		}
		f := finding(h, t, "devices-never-connect", "")
		if f.State != c.state || !strings.Contains(f.Text, c.want) || c.want != "" && (!strings.Contains(f.Text, "meter") || f.Next == "") {
			t.Errorf("%s: %+v, want %s %q", c.name, f, c.state, c.want)
		}
		if got := finding(h, t, "devices", "").State; (got == "ok") != (c.want == "") {
			t.Errorf("%s: devices are %q", c.name, got)
		}
	}
}

// Remotes say where to look, and hold no secret.
func TestRemotes(t *testing.T) {
	h := newFixture(t)
	ca := filepath.Join(t.TempDir(), "ca.pem")
	const block = "-----BEGIN %s-----\nAAAA\n-----END %[1]s-----\n"
	certificate := fmt.Sprintf(block, "CERTIFICATE")
	if err := os.WriteFile(ca, []byte(fmt.Sprintf(block, "PRIVATE KEY")+certificate), 0o600); err != nil {
		t.Fatal(err)
	}
	h.config.Cloud.Management.URL, h.config.Cloud.Management.CA = "https://u:s3cret@cloud.example/api?k=s3cret", config.File(ca)
	h.config.Identity.JWKS.URL, h.config.Identity.JWKS.CA = "https://keys.example:8443/jwks", "/nowhere.pem"
	h.config.Upstream.Mode = config.UpstreamIoTHub
	h.config.Upstream.IoTHub.Host, h.config.Upstream.IoTHub.Address = "hub.example", "127.0.0.1:9"
	got := h.inspector.Remotes()
	if !got.Time.Equal(certificatesAt) || len(got.Remotes) != 3 {
		t.Fatalf("%+v", got)
	}
	cloud, keys, hub := got.Remotes[0], got.Remotes[1], got.Remotes[2]
	if cloud.URL != "https://cloud.example/api" || cloud.Address != "cloud.example:443" || cloud.Authority != certificate || !cloud.Clock {
		t.Errorf("cloud: %+v", cloud)
	}
	if keys.Address != "keys.example:8443" || !strings.Contains(keys.AuthorityError, "/nowhere.pem") {
		t.Errorf("keys: %+v", keys)
	}
	if hub.Address != "127.0.0.1:9" || hub.ServerName != "hub.example" || !hub.Upstream || hub.URL != "mqtts://hub.example" {
		t.Errorf("hub: %+v", hub)
	}
	h.config.Upstream.Mode, h.config.Upstream.MQTT.URL = config.UpstreamMQTT, "mqtt://127.0.0.1"
	if r := h.inspector.Remotes().Remotes[2]; r.Address != "127.0.0.1:1883" || !r.Upstream {
		t.Errorf("broker: %+v", r)
	}
}

func TestEcho(t *testing.T) {
	h := newFixture(t)
	if r, err := h.inspector.Echo(t.Context()); err != nil || r.Seconds != 0.02 || r.Target != "h.example" || r.Error != "" {
		t.Errorf("%+v, %v", r, err)
	}
	h.echo = errors.New("no connection")
	if r, err := h.inspector.Echo(t.Context()); err != nil || r.Error != "no connection" {
		t.Errorf("%+v, %v", r, err)
	}
	synctest.Test(t, func(t *testing.T) {
		h.echo, h.hang = nil, true
		began := time.Now()
		if r, err := h.inspector.Echo(t.Context()); err != nil || r.Error != "no answer within 5s" || time.Since(began) != 5*time.Second {
			t.Errorf("an upstream that does not answer: %+v, %v after %s", r, err, time.Since(began))
		}
	})
}
