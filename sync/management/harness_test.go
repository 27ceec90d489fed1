package management

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// num makes readable ids: num(7) ends in 7.
func num(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

var (
	home     = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001")
	building = space.Root.Join(num(1))
	floor1   = building.Join(num(2))
	floor2   = building.Join(num(3))
	room     = floor1.Join(num(4))
)

func userOf(n int) model.Identity {
	return model.Identity{Kind: model.UserID, Object: num(n), Tenant: home}
}

// The people of the tests; their names are their bearer tokens.
func people() map[string]model.Identity {
	return map[string]model.Identity{
		"admin":     userOf(101), // Space Administrator at /
		"floor":     userOf(102), // Space Administrator at floor 1
		"installer": userOf(103), // Device Installer at /
		"devices1":  userOf(104), // Device Administrator at floor 1
		"support":   userOf(105), // Support Specialist at floor 1
		"site":      userOf(106), // Support Specialist and Token Administrator at floor 1
		"stranger":  userOf(107),
		"gateway":   {Kind: model.DeviceID, Object: num(21)}, // Gateway Device at floor 1
	}
}

func grant(n int, role string, who model.Identity, at space.Path) model.Assignment {
	return model.Assignment{ID: num(n), Role: space.MustID(role), Who: who, Path: at}
}

// smallBuilding has a device in each of floor 1, the room on it, and floor 2.
func smallBuilding() Content {
	p := people()
	key := &wire.Authentication{Type: "sas", SymmetricKey: &wire.SymmetricKey{PrimaryKey: "MDEyMzQ1Njc4OWFiY2RlZg=="}}
	dev := func(n, at int, gateway string) wire.Device {
		return wire.Device{ID: num(n), Name: fmt.Sprintf("device %d", n), HardwareID: fmt.Sprintf("HW%d", n),
			GatewayID: gateway, SpaceID: num(at), Status: "Active", DeviceID: fmt.Sprintf("dev-%d", n), Authentication: key}
	}
	sen := func(n, device, at int) wire.Sensor {
		return wire.Sensor{ID: num(n), DeviceID: num(device), SpaceID: num(at), HardwareID: fmt.Sprintf("S%d", n)}
	}
	return Content{
		Spaces: []wire.Space{
			{ID: num(1), Name: "Building"},
			{ID: num(2), Name: "Floor 1", ParentSpaceID: num(1)}, {ID: num(3), Name: "Floor 2", ParentSpaceID: num(1)},
			{ID: num(4), Name: "Room", ParentSpaceID: num(2)},
		},
		Devices:   []wire.Device{dev(21, 2, ""), dev(22, 4, "dev-21"), dev(23, 3, "")},
		Sensors:   []wire.Sensor{sen(31, 21, 2), sen(32, 22, 4), sen(33, 23, 3)},
		Functions: []wire.Function{{ID: num(41), Name: "fn", SpaceID: num(2), Authentication: key}},
		Users:     []wire.User{{ID: num(45), UPN: "ann@example.com", SpaceID: num(2)}},
		Assignments: []model.Assignment{
			grant(51, model.SpaceAdministratorRole, p["admin"], space.Root),
			grant(52, model.SpaceAdministratorRole, p["floor"], floor1),
			grant(53, model.DeviceInstallerRole, p["installer"], space.Root),
			grant(54, model.DeviceAdministratorRole, p["devices1"], floor1),
			grant(55, model.SupportSpecialistRole, p["support"], floor1),
			grant(56, model.SupportSpecialistRole, p["site"], floor1),
			grant(57, model.TokenAdministratorRole, p["site"], floor1),
			grant(58, model.GatewayDeviceRole, p["gateway"], floor1),
		},
	}
}

type harness struct {
	*testing.T
	server *Server
	store  *MemoryStore
	http   *httptest.Server
}

func authenticate(r *http.Request) (Caller, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	who, known := people()[name]
	if !ok || !known {
		return Caller{}, errors.New("unknown")
	}
	return Caller{Name: name, Subject: model.Subject{Identities: []model.Identity{who}}}, nil
}

func start(t *testing.T, change ...func(*Options)) *harness {
	t.Helper()
	store := NewMemoryStore()
	h := open2(t, store, change...)
	if err := h.server.Import(smallBuilding()); err != nil {
		t.Fatal(err)
	}
	return h
}

func open2(t *testing.T, store *MemoryStore, change ...func(*Options)) *harness {
	t.Helper()
	o := Options{Store: store, HomeTenant: home, HubHost: "demo-hub.azure-devices.net", Authenticate: authenticate, RequestsPerSecond: -1}
	for _, f := range change {
		f(&o)
	}
	server, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	h := &harness{T: t, server: server, store: store, http: httptest.NewTLSServer(server)}
	t.Cleanup(func() {
		server.Release()
		h.http.Client().CloseIdleConnections()
		h.http.Close()
	})
	return h
}

type answer struct {
	status int
	header http.Header
	body   string
}

func (h *harness) do(who, method, path string, body any) answer {
	h.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			h.Fatal(err)
		}
		in = bytes.NewReader(data)
	}
	r, err := http.NewRequestWithContext(h.Context(), method, h.http.URL+Base+path, in)
	if err != nil {
		h.Fatal(err)
	}
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	resp, err := h.http.Client().Do(r)
	if err != nil {
		h.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		h.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(data)}
}

// want does and checks the status.
func (h *harness) want(status int, who, method, path string, body any) answer {
	h.Helper()
	a := h.do(who, method, path, body)
	if a.status != status {
		h.Fatalf("%s %s %s: got %d %s, want %d", who, method, path, a.status, a.body, status)
	}
	return a
}

func parse[T any](h *harness, a answer) T {
	h.Helper()
	var v T
	if err := json.Unmarshal([]byte(a.body), &v); err != nil {
		h.Fatalf("%s: %v", a.body, err)
	}
	return v
}

// ids lists the last three digits of the ids of a collection.
func (h *harness) ids(who, path string) string {
	h.Helper()
	type object struct{ ID string }
	var out []string
	for _, o := range parse[[]object](h, h.want(200, who, "GET", path, nil)) {
		out = append(out, strings.TrimLeft(o.ID[len(o.ID)-3:], "0"))
	}
	return strings.Join(out, " ")
}
