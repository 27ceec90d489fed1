package gateway

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// building is a daemon whose broker serves, with a policy in force: the gateway device "gw" and its
// children "d1" and "d2" in one space, where each may connect, and a space where nobody may.
type building struct {
	*daemon
	address string
	devices []device.Device
}

var (
	lobby, yard = space.MustPath("/0b000000-0000-4000-8000-000000000001"), space.MustPath("/0b000000-0000-4000-8000-000000000002")
	sharedKey   = device.Secret("a key of some thirty-two bytes..")
)

func newBuilding(t *testing.T) *building {
	t.Helper()
	dir := t.TempDir()
	cfg := config.Default()
	cfg.Instance.Tenant, cfg.Instance.Site, cfg.Instance.Hub.Host = restNum(1), space.Root, "hub.example.net"
	cfg.Listeners = []config.Listener{{
		Name:    "mqtt",
		Kind:    config.KindMQTT,
		Address: "127.0.0.1:0",
		Limits:  config.DefaultLimits().ListenerLimits,
	}}
	cfg.State.Dir, cfg.Admin.Socket = config.File(filepath.Join(dir, "state")), config.File(filepath.Join(dir, "admin.sock"))
	cfg.Log.Level = "error"
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	d, err := build(cfg, Options{Stderr: null})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	storing, stopStoring := context.WithCancel(context.Background())
	go func() { ended <- d.store.Run(storing) }()
	go func() { ended <- d.broker.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		err := <-ended // of the broker, which stores until its end
		stopStoring()
		if err := errors.Join(err, <-ended, d.doors.all.Close(), d.store.Close(), null.Close()); err != nil {
			t.Error(err)
		}
	})
	<-d.broker.Ready()
	w := &building{daemon: d, address: d.doors.mqtt[0].Listener.Addr().String()}
	full := replica.Full{Version: model.Version{Epoch: 1, Number: 1}}
	full.Policy = model.Snapshot{Version: full.Version, Roles: model.SystemRoles()}
	for i, id := range []string{"gw", "d1", "d2"} {
		w.devices = append(w.devices, device.Device{
			ID:         restNum(20 + i),
			HubID:      id,
			HardwareID: id,
			Space:      lobby.Space(),
			GatewayID:  "gw",
			Status:     device.Active,
			Auth:       device.Auth{Kind: device.AuthSAS, Primary: sharedKey},
		})
		full.Policy.Assignments = append(full.Policy.Assignments, w.assignment(i))
	}
	w.devices[0].GatewayID = ""
	commands := w.assignment(0) // the gateway commands its children
	commands.ID, commands.Role = restNum(113), space.MustID(model.SpaceAdministratorRole)
	full.Policy.Assignments = append(full.Policy.Assignments, commands)
	full.Data = device.Data{
		Spaces:  []device.Space{{ID: lobby.Space(), Name: "lobby", Path: lobby}, {ID: yard.Space(), Name: "yard", Path: yard}},
		Devices: w.devices,
	}
	if err := d.policy.Replace(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	d.staging.Confirm(time.Now(), false)
	return w
}

// assignment is the right of the i-th device, at the lobby.
func (w *building) assignment(i int) model.Assignment {
	return model.Assignment{
		ID:   restNum(110 + i),
		Role: space.MustID(model.GatewayDeviceRole),
		Path: lobby,
		Who:  model.Identity{Kind: model.DeviceID, Object: restNum(20 + i)},
	}
}

// session is the session of a device, and whether there is one.
func (w *building) session(id string) (broker.SessionInfo, bool) {
	for _, s := range w.broker.Sessions() {
		if s.ClientID == id {
			return s, true
		}
	}
	return broker.SessionInfo{}, false
}

// mqttClient speaks as much MQTT 3.1.1 as these tests need.
type mqttClient struct {
	net.Conn
	in *bufio.Reader
}

// connect returns what CONNACK says: 0 is success.
func (w *building) connect(t *testing.T, id string) (*mqttClient, byte) {
	t.Helper()
	c, err := net.Dial("tcp", w.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	m := &mqttClient{c, bufio.NewReader(c)}
	password := sas.Issue(sas.Device("hub.example.net", id), sharedKey, time.Now().Add(time.Hour))
	body := append([]byte("\x00\x04MQTT\x04\xc0\x00\x3c"), text(id)...) // user name, password, keep the session
	body = append(append(body, text(id)...), text(password)...)
	m.send(t, 0x10, body)
	return m, m.expect(t, 0x20)[1]
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func (m *mqttClient) send(t *testing.T, first byte, body []byte) {
	t.Helper()
	if _, err := m.Write(append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)); err != nil {
		t.Fatal(err)
	}
}

// read returns the next packet.
func (m *mqttClient) read() (first byte, body []byte, err error) {
	if first, err = m.in.ReadByte(); err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(m.in)
	if err != nil {
		return 0, nil, err
	}
	body = make([]byte, n)
	_, err = io.ReadFull(m.in, body)
	return first, body, err
}

// expect returns the body of the next packet, which is of the given type.
func (m *mqttClient) expect(t *testing.T, want byte) []byte {
	t.Helper()
	first, body, err := m.read()
	if err != nil || first != want {
		t.Fatalf("packet %#x, %v, want %#x", first, err, want)
	}
	return body
}

// subscribe returns the code of SUBACK.
func (m *mqttClient) subscribe(t *testing.T, filter string) byte {
	t.Helper()
	m.send(t, 0x82, append(append([]byte{0, 1}, text(filter)...), 1))
	return m.expect(t, 0x90)[2]
}

// ended waits until the server has closed the connection.
func (m *mqttClient) ended() bool {
	for {
		if _, _, err := m.read(); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// A device that is moved away or disabled, while no assignment is touched, loses its connection and its
// subscriptions when the change is applied, connected or away. What waits for a suspended subscription
// is held back, and purged if the right does not return (broker.Options.SuspendFor).
func TestDevicesThatAreMovedOrDisabledLoseTheirSessions(t *testing.T) {
	for name, change := range map[string]func(*device.Device){
		"moved":    func(d *device.Device) { d.Space = yard.Space() },
		"disabled": func(d *device.Device) { d.Status = device.Disabled },
	} {
		t.Run(name, func(t *testing.T) {
			w := newBuilding(t)
			stays, code := w.connect(t, "gw")
			if code != 0 {
				t.Fatalf("CONNACK %d", code)
			}
			live, _ := w.connect(t, "d1")
			away, _ := w.connect(t, "d2")
			for id, c := range map[string]*mqttClient{"d1": live, "d2": away} {
				if granted := c.subscribe(t, "devices/"+id+"/messages/devicebound/#"); granted != 1 {
					t.Fatalf("%s: SUBACK %#x", id, granted)
				}
			}
			away.send(t, 0xe0, nil)
			if !away.ended() {
				t.Fatal("DISCONNECT ends nothing")
			}
			stays.send(t, 0x32, append(append(text("devices/d2/messages/devicebound/"), 0, 1), "open the door"...))
			stays.expect(t, 0x40)
			if s, ok := w.session("d2"); !ok || s.Queued != 1 || s.Subscriptions != 1 {
				t.Fatalf("before: %+v", s)
			}

			delta := replica.Delta{From: model.Version{Epoch: 1, Number: 1}, To: model.Version{Epoch: 1, Number: 2}}
			delta.Policy = model.ChangeSet{From: delta.From, To: delta.To}
			for _, d := range w.devices[1:] {
				change(&d)
				delta.Data.PutDevices = append(delta.Data.PutDevices, d)
			}
			if err := w.policy.Apply(t.Context(), delta); err != nil {
				t.Fatal(err)
			}
			if !live.ended() {
				t.Error("the connection stays")
			}
			for _, id := range []string{"d1", "d2"} {
				if s, ok := w.session(id); ok && s.Subscriptions > s.Suspended {
					t.Errorf("%s keeps %+v", id, s)
				}
				if _, code := w.connect(t, id); code == 0 {
					t.Errorf("%s connects again", id)
				}
			}
			if stays.send(t, 0xc0, nil); len(stays.expect(t, 0xd0)) != 0 {
				t.Error("the device that was not changed is not served any more")
			}
		})
	}
}

// A complete answer after a gap says nothing about what has changed: a right that is not in it ends
// the session that used it.
func TestARightTakenByAFullReadEndsTheSession(t *testing.T) {
	w := newBuilding(t)
	stays, _ := w.connect(t, "gw")
	live, code := w.connect(t, "d1")
	if code != 0 {
		t.Fatalf("CONNACK %d", code)
	}
	full := replica.Full{Version: model.Version{Epoch: 1, Number: 9}}
	full.Policy = model.Snapshot{
		Version:     full.Version,
		Roles:       model.SystemRoles(),
		Assignments: []model.Assignment{w.assignment(0), w.assignment(2)},
	}
	full.Data = w.policy.Topology().Data()
	if err := w.policy.Replace(t.Context(), full); err != nil {
		t.Fatal(err)
	}
	if !live.ended() {
		t.Error("the connection stays")
	}
	if stays.send(t, 0xc0, nil); len(stays.expect(t, 0xd0)) != 0 {
		t.Error("who keeps his right is not served any more")
	}
}
