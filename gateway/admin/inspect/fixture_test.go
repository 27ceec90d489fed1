package inspect_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/access"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/admin/inspect"
	"github.com/gatehouse/gatehouse/gateway/audit"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/listeners"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// fixture is an Inspector over a real policy and topic map, with fakes of the broker, the outbox and the
// replica.
type fixture struct {
	inspector *inspect.Inspector
	index     *authz.Index
	topology  *device.Topology
	loaded    bool
	stored    *model.Snapshot
	stage     offline.Stage
	link      string // state of the uplink; "": connected
	echo      error
	hang      bool // it never answers
	config    config.Config
	disk      inspect.Disk
	report    health.Report
	broker    fakeBroker
	outbox    upstream.Stats
	replica   *fakeReplica
}

func num(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

// newFixture has one device, "gw", with the role of a gateway in space 2.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	site := space.Root.Join(num(2))
	h := &fixture{loaded: true, report: health.Report{State: "ok"}, replica: &fakeReplica{}}
	h.stored = &model.Snapshot{
		Version: model.Version{Epoch: 1, Number: 1},
		Assignments: []model.Assignment{{
			ID:   num(110),
			Role: space.MustID(model.GatewayDeviceRole),
			Path: site,
			Who:  model.Identity{Kind: model.DeviceID, Object: num(20)},
		}},
	}
	h.index, _ = authz.Compile(*h.stored)
	h.topology, _ = device.NewTopology(device.Data{
		Spaces: []device.Space{{ID: num(2), Name: "b", Path: site}},
		Devices: []device.Device{{
			ID:         num(20),
			HubID:      "gw",
			Name:       "gw",
			HardwareID: "GW",
			Space:      num(2),
			Status:     device.Active,
		}},
		Sensors: []device.Sensor{{ID: num(30), Device: num(20), Space: num(2), HardwareID: "S1"}},
	}, device.Options{})
	h.config = config.Default()
	h.config.State.Dir = config.File(t.TempDir())
	h.disk = inspect.Disk{Used: 1 << 20, Free: 1 << 40, MinFree: 64 << 20}
	instance := config.Default().Instance
	instance.Site, instance.Hub.Host, instance.Tenant = space.Root, "h.example", num(1)
	h.inspector = inspect.New(inspect.Options{
		Build:    admin.Build{Version: "1.2.3"},
		Started:  time.Now(),
		Instance: instance,
		Policy:   h,
		Stored: func(context.Context) (*model.Snapshot, error) {
			if h.stored == nil {
				return nil, errors.New("empty")
			}
			return h.stored, nil
		},
		Aging:       h,
		Access:      access.New(access.Options{Facts: h.Facts, Stage: h.Stage}),
		Broker:      &h.broker,
		Health:      func() health.Report { return h.report },
		Deployments: func() map[update.Phase]int { return map[update.Phase]int{update.Queued: 2} },
		Denied:      func() map[string]uint64 { return map[string]uint64{"no-assignment": 3, "no-row": 1} },
		Audit:       func() audit.Counts { return audit.Counts{Total: 9, Suppressed: 5, Missed: 1} },
		Listeners:   func() []admin.ListenerState { return []admin.ListenerState{{Name: "mqtt"}, {Name: "local"}} },
		Doors:       doors{},
		Config:      func() *config.Config { return &h.config },
		Disk:        func() inspect.Disk { return h.disk },
		Now:         func() time.Time { return certificatesAt },
		Outbox:      outbox{h},
		OutboxLimit: 1000,
		Uplink:      uplink{h},
		Replica:     h.replica,
		CloudURL:    "https://cloud.example",
	})
	return h
}

func (h *fixture) Facts() (*authz.Index, *device.Topology) { return h.index, h.topology }

func (h *fixture) Registry() *device.Topology {
	if !h.loaded {
		return nil
	}
	return h.topology
}

func (h *fixture) Stage() offline.Stage { return h.stage }

func (h *fixture) Age() time.Duration { return 90 * time.Second }

// certificatesAt is the trusted time of the fixture.
var certificatesAt = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

type doors struct{}

func (doors) Certificates() []listeners.Certificate {
	until := func(left time.Duration) tlsfile.Validity {
		return tlsfile.Validity{NotBefore: certificatesAt.Add(-365 * 24 * time.Hour), NotAfter: certificatesAt.Add(left)}
	}
	return []listeners.Certificate{
		{Door: "listener-mqtt", Validity: until(100 * 24 * time.Hour)},
		{Door: "listener-old", Validity: until(-time.Minute)},
	}
}

type outbox struct{ h *fixture }

func (o outbox) Stats() upstream.Stats { return o.h.outbox }

type uplink struct{ h *fixture }

func (u uplink) Status() (state, detail, target string, since time.Time) {
	return cmp.Or(u.h.link, "connected"), "2 of 3 device sessions up", "h.example", time.Time{}
}

func (u uplink) Echo(ctx context.Context) (time.Duration, error) {
	if u.h.hang {
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 20 * time.Millisecond, u.h.echo
}

// fakeBroker has the sessions that a test gives it.
type fakeBroker struct {
	stats    broker.Stats
	sessions []broker.SessionInfo
	ended    []string
}

func (b *fakeBroker) Stats() broker.Stats { return b.stats }

func (b *fakeBroker) Sessions() []broker.SessionInfo { return b.sessions }

func (b *fakeBroker) Filters(session string) (all, suspended []string) {
	if session == "s1" {
		return []string{"a/#", "b"}, []string{"b"}
	}
	return nil, nil
}

func (b *fakeBroker) Disconnect(p string, _ byte, why string) int {
	b.ended = append(b.ended, "principal "+p+": "+why)
	return 2
}

func (b *fakeBroker) DisconnectSession(session string, _ byte, why string) int {
	b.ended = append(b.ended, "session "+session+": "+why)
	return 1
}

func user(name string) *principal.Principal {
	return &principal.Principal{Kind: principal.User, Key: "user:" + name, Name: name}
}
