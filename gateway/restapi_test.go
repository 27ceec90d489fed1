package gateway

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/jwt"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// restHome is a built daemon that runs nothing, with a policy in force.
type restHome struct {
	d      *daemon
	issuer *jwt.Issuer
}

const (
	restScope = "/subscriptions/s/resourceGroups/g/providers/Microsoft.DeviceUpdate/accounts/a/instances/inst"
	restAud   = "https://api.adu.microsoft.com"
	// Device Update Deployments Administrator and Reader (docs/spec/device-update.md 1.1).
	deployAdmin  = "e4237640-0e3d-4a46-8fda-70bc94856432"
	deployReader = "49e2f5d2-7741-4835-8efa-19e1fe35e47f"
)

func restNum(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

func newRestHome(t *testing.T) *restHome {
	t.Helper()
	home := restNum(1)
	key, err := jwt.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	issuer, err := jwt.NewIssuer(key, home, "", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	set, err := issuer.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	jwks := filepath.Join(dir, "jwks.json")
	if err := os.WriteFile(jwks, set, 0o600); err != nil {
		t.Fatal(err)
	}
	cfg := config.Default()
	cfg.Instance.Tenant, cfg.Instance.Site, cfg.Instance.Hub.Host = home, space.Root, "h.example"
	cfg.Instance.DeviceUpdate.ARMScope = restScope
	cfg.Listeners = []config.Listener{{Name: "mqtt", Kind: config.KindMQTT,
		Address: "127.0.0.1:0", Limits: config.DefaultLimits().ListenerLimits}}
	cfg.Identity.Tenants = []config.Tenant{{ID: home}}
	cfg.Identity.JWKS.File = config.File(jwks)
	cfg.State.Dir = config.File(filepath.Join(dir, "state"))
	cfg.Log.Level = "error"
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := build(cfg, Options{Stderr: null})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, l := range d.doors.mqtt {
			_ = l.Listener.Close()
		}
		_ = d.store.Close()
		_ = null.Close()
	})
	assign := func(n int, role string, who int) model.AzureAssignment {
		return model.AzureAssignment{ID: restNum(100 + n), Role: space.MustID(role), Scope: restScope,
			Who: model.AzurePrincipal{ID: restNum(who), Type: model.AzureUser}}
	}
	site := space.Root.Join(restNum(2))
	full := replica.Full{Version: model.Version{Epoch: 1, Number: 1}}
	full.Policy = model.Snapshot{Version: full.Version, Roles: model.SystemRoles(), AzureRoles: model.AzureBuiltInRoles(),
		AzureAssignments: []model.AzureAssignment{assign(1, deployAdmin, 11), assign(2, deployReader, 12)},
		Assignments: []model.Assignment{{ID: restNum(110), Role: space.MustID(model.GatewayDeviceRole), Path: site,
			Who: model.Identity{Kind: model.DeviceID, Object: restNum(20)}}}}
	full.Data = device.Data{
		Spaces:  []device.Space{{ID: restNum(2), Name: "b", Path: site}},
		Devices: []device.Device{{ID: restNum(20), HubID: "gw", Name: "gw", HardwareID: "GW", Space: restNum(2), Status: device.Active}},
		Sensors: []device.Sensor{{ID: restNum(30), Device: restNum(20), Space: restNum(2), HardwareID: "S1"}},
	}
	if err := d.policy.Replace(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	d.staging.Confirm(time.Now(), false)
	return &restHome{d, issuer}
}

func (h *restHome) token(t *testing.T, object int, audience string) string {
	t.Helper()
	text, err := h.issuer.Mint(jwt.Mint{Kind: jwt.User, Object: restNum(object), Audience: audience, Life: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// Real tokens, the real policy and the real guard behind the REST surface.
func TestRestIsDecidedByThePolicy(t *testing.T) {
	h := newRestHome(t)
	server, err := h.d.restServer()
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewTLSServer(server)
	defer s.Close()
	const (
		base   = "/deviceUpdate/inst/management/"
		get    = base + "devices/gw"
		cancel = base + "groups/g/deviceClassSubgroups/c/deployments/d1:cancel"
	)
	for name, k := range map[string]struct {
		method, path, token string
		want                int
		text                string
	}{
		"admin reads":        {"GET", get, h.token(t, 11, restAud), 200, `"deviceId":"gw"`},
		"reader reads":       {"GET", get, h.token(t, 12, restAud+"/"), 200, `"deviceId":"gw"`},
		"reader cancels":     {"POST", cancel, h.token(t, 12, restAud), 403, "Forbidden"},
		"admin cancels":      {"POST", cancel, h.token(t, 11, restAud), 404, "DeploymentNotFound"},
		"a stranger":         {"GET", get, h.token(t, 13, restAud), 403, "Forbidden"},
		"another audience":   {"GET", get, h.token(t, 11, "api://gatehouse"), 401, "Unauthorized"},
		"nothing":            {"GET", get, "x", 401, "Unauthorized"},
		"a device elsewhere": {"GET", base + "devices/nobody", h.token(t, 11, restAud), 404, "NotFound"},
	} {
		r, err := http.NewRequestWithContext(t.Context(), k.method, s.URL+k.path+"?api-version=2022-10-01", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+k.token)
		res, err := s.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if res.StatusCode != k.want || !strings.Contains(string(body), k.text) {
			t.Errorf("%s: %d %s", name, res.StatusCode, body)
		}
	}
	// The right is withdrawn: the next request is refused.
	if err := h.d.policy.Apply(t.Context(), replica.Delta{From: model.Version{Epoch: 1, Number: 1}, To: model.Version{Epoch: 1, Number: 2},
		Policy: model.ChangeSet{From: model.Version{Epoch: 1, Number: 1}, To: model.Version{Epoch: 1, Number: 2},
			RemoveAzureAssigns: []space.ID{restNum(101)}}}); err != nil {
		t.Fatal(err)
	}
	house, err := h.d.restGateway()
	if err != nil {
		t.Fatal(err)
	}
	p, err := house.Prove(h.token(t, 11, restAud))
	if err != nil || house.May(t.Context(), p, "cancel").Allowed || p.Kind != principal.User {
		t.Errorf("%+v, %v", p, err)
	}
}

// A queued create is decided as the publish that it was, by the policy of now.
func TestQueuedCreateIsDecidedAgain(t *testing.T) {
	h := newRestHome(t)
	gw := &principal.Principal{Kind: principal.Device, Key: "device:gw", DeviceID: "gw", Node: restNum(20),
		Subject: model.Subject{Identities: []model.Identity{{Kind: model.DeviceID, Object: restNum(20)}}}}
	if x := h.d.mayCreate(gw, "gw", "N1"); !x.Allowed || x.Hold {
		t.Errorf("%+v", x)
	}
	topo := h.d.policy.Topology()
	s, _ := topo.SensorByHardwareID("S1")
	if !h.d.access.MayReadSensor(gw, s) {
		t.Error("the gateway's own sensor is not shown to it")
	}
	stranger := &principal.Principal{Kind: principal.User, Key: "user:x", Subject: model.Subject{Object: restNum(99)}}
	if x := h.d.mayCreate(stranger, "gw", "N1"); x.Allowed || x.Hold || h.d.access.MayReadSensor(stranger, s) {
		t.Errorf("%+v", x)
	}
	// A device that was disabled is dropped, whatever its assignments say.
	off := topo.Data().Devices[0]
	off.Status = device.Disabled
	if err := h.d.policy.Apply(context.Background(),
		replica.Delta{From: model.Version{Epoch: 1, Number: 1}, To: model.Version{Epoch: 1, Number: 2},
			Policy: model.ChangeSet{From: model.Version{Epoch: 1, Number: 1},
				To: model.Version{Epoch: 1, Number: 2}}, Data: device.Changes{PutDevices: []device.Device{off}}}); err != nil {
		t.Fatal(err)
	}
	if x := h.d.mayCreate(gw, "gw", "N1"); x.Allowed || x.Hold {
		t.Errorf("a disabled device: %+v", x)
	}
	// Without any policy nothing that was acknowledged is dropped.
	h.d.policy = policy.New(policy.Options{})
	if x := h.d.mayCreate(gw, "gw", "N1"); x.Allowed || !x.Hold {
		t.Errorf("without a policy: %+v", x)
	}
}
