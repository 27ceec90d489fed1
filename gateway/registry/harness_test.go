package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func num(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

// memory is a Bucket: done is called after the call has returned, in the order of the calls.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	order  []string // keys as they were put
	broken bool
	turn   chan struct{}
}

func newMemory() *memory { return &memory{values: map[string][]byte{}} }

func (m *memory) after(f func()) {
	last, mine := m.turn, make(chan struct{})
	m.turn = mine
	go func() {
		if last != nil {
			<-last
		}
		f()
		close(mine)
	}()
}

func (m *memory) Put(key string, value []byte, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		m.after(func() { done(errors.New("disk full")) })
		return
	}
	m.values[key], m.order = slices.Clone(value), append(m.order, key)
	m.after(func() { done(nil) })
}

func (m *memory) Delete(key string, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	m.after(func() { done(nil) })
}

func (m *memory) Load(yield func(string, []byte) error) error {
	m.mu.Lock()
	values := maps.Clone(m.values)
	m.mu.Unlock()
	for k, v := range values {
		if err := yield(k, v); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) len() int { m.mu.Lock(); defer m.mu.Unlock(); return len(m.values) }

// cloud is a Creator. As the contract asks, a repeated create returns the same sensor.
type cloud struct {
	mu     sync.Mutex
	err    error
	status int // returned with err or, without an error, as a refusal
	bad    map[string]bool
	asked  []string
	made   map[string]space.ID
}

func (c *cloud) CreateSensor(_ context.Context, s Sensor) (string, int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, s.HardwareID)
	switch {
	case c.bad[s.HardwareID]:
		return "", 500, errors.New("internal error")
	case c.err != nil:
		return "", c.status, c.err
	case c.status != 0:
		return "", c.status, nil
	}
	if d, ok := c.made[s.HardwareID]; ok {
		if d != s.Device {
			return "", 409, nil
		}
		return "sensor-" + s.HardwareID, 200, nil
	}
	c.made[s.HardwareID] = s.Device
	return "sensor-" + s.HardwareID, 201, nil
}

func (c *cloud) set(f func()) { c.mu.Lock(); defer c.mu.Unlock(); f() }

func (c *cloud) log() string { c.mu.Lock(); defer c.mu.Unlock(); return strings.Join(c.asked, " ") }

// harness is a Service with fakes of the cloud, the store and the sessions; May answers as the test says.
type harness struct {
	t     *testing.T
	s     *Service
	store *memory
	cloud *cloud
	topo  atomic.Pointer[device.Topology]
	stop  func()

	mu      sync.Mutex
	may     map[string]Decision // by principal key; a missing one is allowed
	unread  map[string]bool     // sensors that may not be read
	sent    []string            // session, topic and body of each answer
	audited []string
	report  string
}

var (
	gatewayP = &principal.Principal{
		Kind:     principal.Device,
		Key:      "device:gw",
		Name:     "gw",
		DeviceID: "gw",
		Node:     num(10),
		Subject:  model.Subject{Identities: []model.Identity{{Kind: model.DeviceID, Object: num(10)}}},
	}
	userP = &principal.Principal{Kind: principal.User, Key: "user:a/b", Name: "Ada",
		Subject: model.Subject{Object: num(77), Groups: []space.ID{num(78)}, GroupsKnown: true,
			Identities: []model.Identity{{Kind: model.UserID, Object: num(77), Tenant: num(79)}}}}
)

func records() device.Data {
	return device.Data{
		Spaces: []device.Space{{ID: num(1), Name: "b", Path: space.Root.Join(num(1))}, {ID: num(2), Parent: num(1), Name: "f"}},
		Devices: []device.Device{
			{
				ID:         num(10),
				HubID:      "gw",
				Name:       "Gateway",
				HardwareID: "HW-GW",
				Space:      num(1),
				Status:     device.Active,
			},
			{
				ID:         num(11),
				HubID:      "d1",
				Name:       "Thermostat",
				HardwareID: "HW-1",
				GatewayID:  num(10).String(),
				Space:      num(2),
				Status:     device.Active,
				Auth:       device.Auth{Kind: device.AuthSAS, Primary: device.Secret("top-secret-key"), Thumbprints: []device.Thumbprint{{1, 2}}},
				Modules:    []device.Module{{ID: "m1", Auth: device.Auth{Kind: device.AuthSAS, Primary: device.Secret("module-secret")}}},
			},
			{
				ID:         num(12),
				HubID:      "d2",
				Name:       "Other",
				HardwareID: "HW-2",
				Space:      num(2),
				Status:     device.Active,
			},
		},
		Sensors: []device.Sensor{
			{ID: num(20), Device: num(11), Space: num(2), HardwareID: "T1"},
			{ID: num(21), Device: num(11), Space: num(1), HardwareID: "T2"},
		},
	}
}

func start(t *testing.T, change func(*Options)) *harness {
	h := &harness{
		t:      t,
		store:  newMemory(),
		cloud:  &cloud{made: map[string]space.ID{}, bad: map[string]bool{}},
		may:    map[string]Decision{},
		unread: map[string]bool{},
	}
	h.setTopology(records())
	h.restart(change)
	return h
}

func (h *harness) setTopology(d device.Data) {
	topo, problems := device.NewTopology(d, device.Options{})
	for _, p := range problems {
		h.t.Error(p)
	}
	h.topo.Store(topo)
}

func (h *harness) restart(change func(*Options)) {
	h.t.Helper()
	if h.stop != nil {
		h.stop()
	}
	o := Options{
		Creator:  h.cloud,
		Store:    h.store,
		Topology: h.topo.Load,
		Self:     &principal.Principal{Kind: principal.Gateway, Key: "gateway"},
		May: func(p *principal.Principal, dev, _ string) Decision {
			h.mu.Lock()
			defer h.mu.Unlock()
			if p.Key == gatewayP.Key && (p.DeviceID != "gw" || p.Node != num(10) || len(p.Subject.Identities) != 1) {
				return Decision{Reason: "identities-lost"}
			}
			if d, ok := h.may[dev]; ok {
				return d
			}
			if d, ok := h.may[p.Key]; ok {
				return d
			}
			return Decision{Allowed: true, Reason: "granted"}
		},
		MayRead: func(_ *principal.Principal, s *device.Sensor) bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			return !h.unread[s.HardwareID]
		},
		SendSession: func(session string, m *message.Message) bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.sent = append(h.sent, session+" "+m.Topic+" "+string(m.Payload))
			return true
		},
		Audit: func(r message.AuditRecord) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.audited = append(h.audited, fmt.Sprint(r.Principal, " ", r.Topic, " ", r.Allowed, " ", r.Reason))
		},
		Report: func(n int, why error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.report = fmt.Sprint(n, " ", why)
		},
	}
	if change != nil {
		change(&o)
	}
	s, err := New(o)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := s.Load(); err != nil {
		h.t.Fatal(err)
	}
	h.s = s
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	h.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			h.t.Error(err)
		}
	}
}

// ask hands in a request and returns the reason code, once everything that it started has ended.
func (h *harness) ask(p *principal.Principal, name, dev, hardware, rid, payload string) byte {
	h.t.Helper()
	m := &message.Message{
		Topic:     "registry/devices/" + dev + "/" + name,
		Payload:   []byte(payload),
		QoS:       1,
		Publisher: p,
		Via: message.Route{
			Handling: message.Registry,
			Name:     name,
			Device:   dev,
			Object:   hardware,
			Request:  rid,
		},
	}
	code := make(chan byte, 2)
	if !h.s.Handle(p, "session:"+p.Key, m, func(c byte) { code <- c }) {
		h.t.Fatal("not taken")
	}
	synctest.Wait()
	if len(code) != 1 {
		h.t.Fatalf("done was called %d times", len(code))
	}
	return <-code
}

func (h *harness) create(hardware, rid string) byte {
	return h.ask(gatewayP, "create", "d1", hardware, rid, `{"type":"Temperature"}`)
}

// took returns the answers that were sent since the last call.
func (h *harness) took() []string {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.sent
	h.sent = nil
	return all
}

func (h *harness) records() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.audited, "\n")
}

func (h *harness) set(f func()) { h.mu.Lock(); defer h.mu.Unlock(); f() }

func (h *harness) want(got []string, want ...string) {
	h.t.Helper()
	if !slices.Equal(got, want) {
		h.t.Errorf("sent\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func to(rid string, status int, body string) string {
	return fmt.Sprintf(`session:device:gw registry/responses/%s {"status":%d,"body":%s}`, rid, status, body)
}

const queued = `{"status":"queued"}`

func done(hw string) string { return fmt.Sprintf(`{"id":"sensor-%s","hardwareId":%q}`, hw, hw) }

func in(t *testing.T, f func(t *testing.T)) { t.Helper(); synctest.Test(t, f) }

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
