package seed

import (
	"errors"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/management"
)

const demo = "../../../configs/demo-topology.yaml"

func fill() Fill {
	return Fill{Device: func(hubID string) (device.Auth, bool) {
		if hubID == "meter-main" {
			return device.Auth{}, false // random keys
		}
		var print device.Thumbprint
		copy(print[:], hubID)
		return device.Auth{Kind: device.AuthSelfSigned, Thumbprints: []device.Thumbprint{print}}, true
	}}
}

func TestTheDemoBuilding(t *testing.T) {
	topology, err := Load(demo)
	if err != nil {
		t.Fatal(err)
	}
	server, err := management.New(management.Options{
		Store: management.NewMemoryStore(), HomeTenant: topology.HomeTenant,
		Authenticate: func(*http.Request) (management.Caller, error) { return management.Caller{}, errors.New("nobody") },
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := topology.Seed(server, fill()); err != nil {
		t.Fatal(err)
	}
	if err := topology.Seed(server, fill()); err != nil {
		t.Fatal("seeding twice changes nothing, and works:", err)
	}
	c, err := topology.Content(fill())
	if err != nil {
		t.Fatal(err)
	}
	var data device.Data
	paths := map[space.ID]space.Path{}
	for _, w := range c.Spaces {
		up, ok := paths[w.ParentSpaceID]
		if !ok {
			up = space.Root
		}
		paths[w.ID] = up.Join(w.ID)
		data.Spaces = append(data.Spaces, device.Space{ID: w.ID, Parent: w.ParentSpaceID, Name: w.Name, Path: paths[w.ID]})
	}
	for i := range c.Devices {
		r, err := c.Devices[i].Record()
		if err != nil {
			t.Fatal(err)
		}
		data.Devices = append(data.Devices, r)
	}
	for i := range c.Sensors {
		r, err := c.Sensors[i].Record()
		if err != nil {
			t.Fatal(err)
		}
		data.Sensors = append(data.Sensors, r)
	}
	registry, problems := device.NewTopology(data, device.Options{ActsForDepth: 1})
	if len(problems) > 0 {
		t.Error("the registry refuses:", problems)
	}
	if len(data.Devices) < 20 || len(data.Sensors) < 60 {
		t.Errorf("%d devices, %d sensors", len(data.Devices), len(data.Sensors))
	}
	gateway, _ := topology.Device("gateway-1")
	children := 0
	for range registry.Children(gateway) {
		children++
	}
	if children != 4 || !registry.IsGateway(gateway) {
		t.Errorf("the gateway has %d children", children)
	}
	pump, _ := registry.DeviceByHubID("pump-1")
	meter, _ := registry.DeviceByHubID("meter-main")
	if !registry.ActsFor(gateway, pump) || registry.ActsFor(gateway, meter) {
		t.Error("the gateway acts for the pump, not for the meter")
	}
	index, problems2 := authz.Compile(model.Snapshot{Roles: model.SystemRoles(), Assignments: c.Assignments,
		AzureAssignments: c.AzureAssignments, AzureRoles: model.AzureBuiltInRoles()})
	if len(problems2) > 0 {
		t.Error("the engine refuses:", problems2)
	}
	service, _ := topology.Identity("device-update")
	subject := &model.Subject{Identities: []model.Identity{service}, Object: service.Object, GroupsKnown: true}
	if d := index.DecideAction(subject, "Microsoft.Devices/IotHubs/configurations/write", c.AzureAssignments[0].Scope); !d.Allowed {
		t.Error("the Device Update service must hold the hub:", d)
	}
	roles := map[space.ID]bool{}
	kinds := map[model.IdentityKind]bool{}
	holders := map[space.ID]bool{}
	for _, a := range c.Assignments {
		roles[a.Role], kinds[a.Who.Kind], holders[a.Who.Object] = true, true, true
	}
	if len(roles) != 9 || len(kinds) != 6 {
		t.Errorf("%d roles, %d kinds of identity", len(roles), len(kinds))
	}
	for _, hub := range []string{"lobby-display", "dishwasher-1"} {
		if id, ok := topology.Device(hub); !ok || holders[id] {
			t.Error(hub, "must hold nothing")
		}
	}
	if len(topology.Devices(device.AuthSAS)) != 1 || len(topology.Devices(device.AuthSelfSigned)) < 5 ||
		len(topology.Devices(device.AuthCA)) != 1 {
		t.Error("kinds of credentials")
	}
}

func TestMissingThumbprints(t *testing.T) {
	topology, err := Load(demo)
	if err != nil {
		t.Fatal(err)
	}
	_, err = topology.Content(Fill{})
	if err == nil || !strings.Contains(err.Error(), `"gateway-1"`) || !strings.Contains(err.Error(), `"door-1"`) {
		t.Error("every device without a certificate must be named:", err)
	}
	wrong := func(string) (device.Auth, bool) { return device.Auth{Kind: device.AuthSAS}, true }
	if _, err := topology.Content(Fill{Device: wrong}); err == nil {
		t.Error("a key for a certificate device")
	}
}

func TestBadFilesAreRefusedWithAllTheirErrors(t *testing.T) {
	data, err := os.ReadFile(demo)
	if err != nil {
		t.Fatal(err)
	}
	good := string(data)
	for name, tt := range map[string]struct{ old, new, want string }{
		"unknown member":     {"homeTenant:", "homeTenants:", "homeTenants"},
		"unknown in device":  {"    hardwareId: 0A5C00000001", "    hardwareID: 0A5C00000001", "hardwareID"},
		"unknown role":       {"role: GatewayDevice", "role: Gatekeeper", `no role "Gatekeeper"`},
		"unknown space":      {"at: kitchen", "at: cellar", `no space "cellar"`},
		"unknown device":     {"device: ups-1", "device: ups-9", `no device "ups-9"`},
		"two identities":     {"who: {device: ups-1}", "who: {device: ups-1, user: bob@harbour.example}", "exactly one"},
		"an id twice":        {"5e450000-0000-4000-8000-000000000002", "5e450000-0000-4000-8000-000000000001", "has the id of"},
		"malformed id":       {"de71ce00-0000-4000-8000-000000000001", "de71ce00", "GUID"},
		"device twice":       {"deviceId: pump-2", "deviceId: pump-1", "twice"},
		"a topic as an id":   {"deviceId: pump-2", "deviceId: pump/2", "deviceId"},
		"unknown credential": {"auth: sas", "auth: password", "auth"},
	} {
		bad := strings.Replace(good, tt.old, tt.new, 1)
		if bad == good {
			t.Fatal(name, "does not apply")
		}
		if _, err := Parse([]byte(bad)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	both := strings.Replace(strings.Replace(good, "at: kitchen", "at: cellar", 1), "role: UserAdministrator", "role: X", 1)
	if _, err := Parse([]byte(both)); err == nil || !strings.Contains(err.Error(), "cellar") || !strings.Contains(err.Error(), `"X"`) {
		t.Error("all errors at once:", err)
	}
}

func FuzzParse(f *testing.F) {
	if data, err := os.ReadFile(demo); err == nil {
		f.Add(data)
	}
	f.Add([]byte("homeTenant: 7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001\nspaces: [{key: a, id: 5bace000-0000-4000-8000-000000000001, name: A}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		topology, err := Parse(data)
		if err == nil {
			_, _ = topology.Content(Fill{})
		}
	})
}
