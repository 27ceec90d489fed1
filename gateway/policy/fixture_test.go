package policy_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/policy"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// memoryStore is a Store that can be told to fail.
type memoryStore struct {
	held  generation.Full // of the last WriteGeneration; deltas are not applied to it
	fail  error
	dirty string // the reason of the mark; empty: no mark
	log   *[]string
}

func (m *memoryStore) WriteGeneration(_ context.Context, g generation.Full) error {
	*m.log = append(*m.log, "write")
	if m.fail == nil {
		m.held, m.dirty = g, ""
	}
	return m.fail
}

func (m *memoryStore) WriteDelta(context.Context, generation.Delta) error {
	*m.log = append(*m.log, "write")
	return m.fail
}

func (m *memoryStore) MarkDirty(reason string) error {
	m.dirty = reason
	return nil
}

func (m *memoryStore) ClearDirty() error {
	m.dirty = ""
	return nil
}

// fixture is a Policy over a fake store; its effects are recorded in the order in which they were called.
type fixture struct {
	*policy.Policy
	store *memoryStore
	mark  time.Time // what the clock's mark is

	log              []string
	changes          []policy.Change
	gone             []string // whom Forget was told, by name
	problems         []authz.Problem
	registryProblems []device.Problem
}

func (h *fixture) Problems(problems []authz.Problem, registry []device.Problem) {
	h.problems, h.registryProblems = problems, registry
}

func (h *fixture) Revoke(context.Context, principal.Concerned) (time.Duration, error) {
	h.log = append(h.log, "revoke")
	return 0, nil
}

func (h *fixture) Forget(gone []device.Departed) {
	for _, was := range gone {
		h.gone = append(h.gone, was.Name)
	}
}

func (h *fixture) Changed(c policy.Change) { h.changes = append(h.changes, c) }

var (
	room   = space.MustPath("/5bace000-0000-4000-8000-000000000001")
	first  = space.MustID("de71ce00-0000-4000-8000-000000000001")
	second = space.MustID("de71ce00-0000-4000-8000-000000000002")
)

func grant(id string, dev space.ID) model.Assignment {
	return model.Assignment{
		ID:   space.MustID(id),
		Role: space.MustID(model.GatewayDeviceRole),
		Who:  model.Identity{Kind: model.DeviceID, Object: dev},
		Path: room,
	}
}

var (
	one = grant("a5510000-0000-4000-8000-000000000001", first)
	two = grant("a5510000-0000-4000-8000-000000000002", second)
)

func version(n uint64) model.Version { return model.Version{Epoch: 7, Number: n} }

func building(hubIDs ...string) device.Data {
	d := device.Data{Spaces: []device.Space{{ID: room.Space(), Name: "room", Path: room}}}
	for i, id := range hubIDs {
		d.Devices = append(d.Devices, device.Device{
			ID:         []space.ID{first, second}[i],
			HubID:      id,
			HardwareID: id,
			Space:      room.Space(),
			Status:     device.Active,
		})
	}
	return d
}

// answer is a complete answer of the cloud, at its version n.
func answer(n uint64, p model.Snapshot, registry device.Data) replica.Full {
	p.Version = version(n)
	return replica.Full{Version: version(n), Policy: p, Data: registry}
}

// changeFrom is a change set of the cloud, from one version to another.
func changeFrom(from, to uint64, c model.ChangeSet, registry device.Changes) replica.Delta {
	c.From, c.To = version(from), version(to)
	return replica.Delta{From: c.From, To: c.To, Policy: c, Data: registry}
}

// newFixture has version 1 in force: the devices d1 and d2, and a right of d1's.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	return newFixtureFor(t, func(h *fixture) policy.Effects { return h })
}

// newFixtureFor is newFixture with effects of a test's own, made around the fixture.
func newFixtureFor(t *testing.T, effects func(*fixture) policy.Effects) *fixture {
	t.Helper()
	h := &fixture{mark: time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)}
	h.store = &memoryStore{log: &h.log}
	h.Policy = policy.New(policy.Options{
		Store:   h.store,
		Effects: effects(h),
		Mark:    func() (time.Time, uint64) { return h.mark, 0 },
		Log:     slog.New(slog.DiscardHandler),
	})
	first := answer(1, model.Snapshot{Assignments: []model.Assignment{one}}, building("d1", "d2"))
	if err := h.Replace(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	h.log = nil
	return h
}

func (h *fixture) may(dev space.ID) bool {
	s := &model.Subject{Identities: []model.Identity{{Kind: model.DeviceID, Object: dev}}}
	return h.Index().Decide(s, model.Operation{Access: model.Create, Type: model.Sensor}, room).Allowed
}
