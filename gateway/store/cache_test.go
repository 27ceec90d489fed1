package store

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/generation"
	"github.com/gatehouse/gatehouse/gateway/offline"
)

var generations = []gocmp.Option{
	cmpopts.SortSlices(func(a, b any) bool { return gocmpKey(a) < gocmpKey(b) }),
	gocmp.Comparer(func(a, b space.Path) bool { return a == b }),
	cmpopts.EquateEmpty(),
}

func gocmpKey(v any) string {
	switch v := v.(type) {
	case model.Role:
		return v.ID.String()
	case model.Assignment:
		return v.ID.String()
	case device.Device:
		return v.ID.String() + v.HubID
	case device.Sensor:
		return v.ID.String()
	default:
		return ""
	}
}

func filledGeneration() generation.Full {
	g := filled[generation.Full]()
	g.Policy.Version = g.Version
	sortByID(g.Policy.Roles, func(v model.Role) space.ID { return v.ID })
	sortByID(g.Policy.Assignments, func(v model.Assignment) space.ID { return v.ID })
	sortByID(g.Policy.AzureRoles, func(v model.AzureRole) space.ID { return v.ID })
	sortByID(g.Policy.AzureAssignments, func(v model.AzureAssignment) space.ID { return v.ID })
	sortByID(g.Policy.AzureDenies, func(v model.AzureDeny) space.ID { return v.ID })
	sortByID(g.Registry.Spaces, func(v device.Space) space.ID { return v.ID })
	sortByID(g.Registry.Devices, func(v device.Device) space.ID { return v.ID })
	sortByID(g.Registry.Sensors, func(v device.Sensor) space.ID { return v.ID })
	sortByID(g.Registry.Functions, func(v device.Function) space.ID { return v.ID })
	sortByID(g.Registry.CAs, func(v device.CA) space.ID { return v.ID })
	return g
}

func sortByID[T any](list []T, id func(T) space.ID) {
	slices.SortFunc(list, func(a, b T) int { return cmp.Compare(id(a).String(), id(b).String()) })
}

func TestGenerationKeepsEveryFieldAndSealsSecrets(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	if _, err := s.Cache().Load(context.Background()); !errors.Is(err, ErrEmpty) {
		t.Fatalf("empty cache: %v", err)
	}
	want := filledGeneration()
	want.Registry.Devices[0].Auth.Primary = device.Secret("find-me-if-you-can-4711")
	want.Registry.Devices[0].Modules[0].Auth.Secondary = device.Secret("find-me-if-you-can-4711")
	want.Registry.Functions[0].Auth.Primary = device.Secret("find-me-if-you-can-4711")
	if err := s.Cache().WriteGeneration(context.Background(), want); err != nil {
		t.Fatal(err)
	}
	stop()
	s, stop = open(t, dir, testOptions())
	got, err := s.Cache().Load(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(want, got, gocmp.Comparer(func(a, b space.Path) bool { return a == b }),
		gocmp.Comparer(func(a, b device.Secret) bool { return bytes.Equal(a, b) })); d != "" {
		t.Error(d)
	}
	stop()
	files := 0
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			if fi, _ := d.Info(); fi != nil && path != dir && fi.Mode().Perm() != 0o700 {
				t.Errorf("%s has mode %v", path, fi.Mode())
			}
			return err
		}
		files++
		if fi, _ := d.Info(); fi.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", path, fi.Mode())
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte("find-me")) || bytes.Contains(b, []byte("ZmluZC1tZS1")) {
			t.Errorf("%s holds a key in the clear", path)
		}
		return err
	})
	if files < 6 {
		t.Errorf("%d files looked at", files)
	}
}

func TestWrongKeyIsAnErrorNotAQuarantine(t *testing.T) {
	dir := t.TempDir()
	o := testOptions()
	o.Key = func() ([]byte, error) { return bytes.Repeat([]byte{1}, 32), nil }
	s, stop := open(t, dir, o)
	if err := s.Cache().WriteGeneration(context.Background(), filledGeneration()); err != nil {
		t.Fatal(err)
	}
	stop()
	other := o
	other.Key = func() ([]byte, error) { return bytes.Repeat([]byte{2}, 32), nil }
	if _, err := Open(dir, other); !errors.Is(err, ErrWrongKey) {
		t.Fatalf("with another key: %v", err)
	}
	other.Key = func() ([]byte, error) { return []byte("short"), nil }
	if _, err := Open(dir, other); err == nil {
		t.Fatal("a short key was taken")
	}
	s, _ = open(t, dir, o)
	if _, err := s.Cache().Load(context.Background()); err != nil {
		t.Errorf("with the right key again: %v", err)
	}
}

func TestSealedRecordCannotMove(t *testing.T) {
	s, err := newSealer(t.TempDir(), func() ([]byte, error) { return make([]byte, 32), nil })
	if err != nil {
		t.Fatal(err)
	}
	b := s.seal("device 1", []byte("key"))
	if v, err := s.open("device 1", b); err != nil || string(v) != "key" {
		t.Fatalf("%q, %v", v, err)
	}
	if _, err := s.open("device 2", b); err == nil {
		t.Error("the secret of one record opened as another's")
	}
}

func TestDeltaNeedsItsVersion(t *testing.T) {
	s, _ := open(t, t.TempDir(), testOptions())
	c := s.Cache()
	if err := c.WriteDelta(context.Background(), generation.Delta{}); !errors.Is(err, generation.ErrVersion) {
		t.Errorf("delta on nothing: %v", err)
	}
	g := generation.Full{Version: model.Version{Epoch: 1, Number: 5}, Registry: testData(3)}
	if err := c.WriteGeneration(context.Background(), g); err != nil {
		t.Fatal(err)
	}
	d := generation.Delta{Policy: model.ChangeSet{From: model.Version{Epoch: 1, Number: 4}, To: model.Version{Epoch: 1, Number: 6}}}
	if err := c.WriteDelta(context.Background(), d); !errors.Is(err, generation.ErrVersion) {
		t.Errorf("delta on another version: %v", err)
	}
	d.Policy.From.Number = 5
	d.Registry.PutDevices = testData(20000).Devices
	if err := c.WriteDelta(context.Background(), d); !errors.Is(err, generation.ErrTooLarge) {
		t.Errorf("huge delta: %v", err)
	}
	if got, err := c.Load(context.Background()); err != nil || got.Version != g.Version || len(got.Registry.Devices) != 3 {
		t.Errorf("after refused deltas: %v, %d devices, %v", got.Version, len(got.Registry.Devices), err)
	}
}

func TestDuplicateIDsStayApart(t *testing.T) {
	s, _ := open(t, t.TempDir(), testOptions())
	c := s.Cache()
	g := generation.Full{Version: model.Version{Epoch: 1, Number: 1}, Registry: testData(1)}
	twin := g.Registry.Devices[0]
	twin.HubID = "the other"
	g.Registry.Devices = append(g.Registry.Devices, twin)
	if err := c.WriteGeneration(context.Background(), g); err != nil {
		t.Fatal(err)
	}
	got, err := c.Load(context.Background())
	if err != nil || len(got.Registry.Devices) != 2 {
		t.Fatalf("%d devices, %v; want both", len(got.Registry.Devices), err)
	}
	d := generation.Delta{
		Policy:   model.ChangeSet{From: g.Version, To: model.Version{Epoch: 1, Number: 2}},
		Registry: device.Changes{PutDevices: []device.Device{twin}},
	}
	if err := c.WriteDelta(context.Background(), d); err != nil {
		t.Fatal(err)
	}
	got, err = c.Load(context.Background())
	if err != nil || len(got.Registry.Devices) != 1 || got.Registry.Devices[0].HubID != "the other" {
		t.Errorf("after a put of that id: %d devices, %v", len(got.Registry.Devices), err)
	}
}

// TestDeltasAgainstOracle applies random deltas to the cache and to plain maps.
func TestDeltasAgainstOracle(t *testing.T) {
	ids := make([]space.ID, 6)
	for i := range ids {
		ids[i] = space.NewID()
	}
	s, _ := open(t, t.TempDir(), testOptions())
	c := s.Cache()
	rapid.Check(t, func(rt *rapid.T) {
		version := model.Version{Epoch: 1, Number: 1}
		roles, devices := map[space.ID]model.Role{}, map[space.ID]device.Device{}
		if err := c.WriteGeneration(context.Background(), generation.Full{Version: version}); err != nil {
			rt.Fatal(err)
		}
		pick := rapid.SampledFrom(ids)
		for range rapid.IntRange(1, 6).Draw(rt, "deltas") {
			d := generation.Delta{Taken: time.Unix(int64(version.Number), 0).UTC(), Policy: model.ChangeSet{From: version}}
			version.Number++
			d.Policy.To = version
			for _, id := range rapid.SliceOfN(pick, 0, 3).Draw(rt, "remove") {
				d.Policy.RemoveRoles = append(d.Policy.RemoveRoles, id)
				d.Registry.RemoveDevices = append(d.Registry.RemoveDevices, id)
				delete(roles, id)
				delete(devices, id)
			}
			for _, id := range rapid.SliceOfN(pick, 0, 3).Draw(rt, "put") {
				name := rapid.StringN(0, 5, -1).Draw(rt, "name")
				roles[id] = model.Role{ID: id, Name: name}
				devices[id] = device.Device{ID: id, HubID: name, Auth: device.Auth{Kind: device.AuthSAS, Primary: device.Secret(name)}}
				d.Policy.PutRoles = append(d.Policy.PutRoles, roles[id])
				d.Registry.PutDevices = append(d.Registry.PutDevices, devices[id])
			}
			if err := c.WriteDelta(context.Background(), d); err != nil {
				rt.Fatal(err)
			}
		}
		var want generation.Full
		for _, r := range roles {
			want.Policy.Roles = append(want.Policy.Roles, r)
		}
		for _, d := range devices {
			want.Registry.Devices = append(want.Registry.Devices, d)
		}
		got, err := c.Load(context.Background())
		if err != nil {
			rt.Fatal(err)
		}
		if got.Version != version {
			rt.Fatalf("version %v, want %v", got.Version, version)
		}
		got.Version, got.Policy.Version, got.Taken = model.Version{}, model.Version{}, time.Time{}
		if d := gocmp.Diff(want, got, generations...); d != "" {
			rt.Fatal(d)
		}
	})
}

func TestMarks(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	c := s.Cache()
	now := time.Unix(1700000000, 42).UTC()
	for _, at := range []time.Time{now.Add(-time.Hour), now, now.Add(-time.Minute)} {
		if err := c.RaiseHighWater(offline.Stamp{Time: at}, time.Time{}); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.MarkDirty("disk full"); err != nil {
		t.Fatal(err)
	}
	stop()
	s, _ = open(t, dir, testOptions())
	c = s.Cache()
	if got := c.HighWater().Time; !got.Equal(now) {
		t.Errorf("high-water mark %v, want %v", got, now)
	}
	if why, dirty := c.Dirty(); !dirty || why != "disk full" {
		t.Errorf("dirty mark: %q, %v", why, dirty)
	}
	if err := c.WriteGeneration(context.Background(), generation.Full{}); err != nil {
		t.Fatal(err)
	}
	if _, dirty := c.Dirty(); dirty {
		t.Error("still dirty after a full generation")
	}
}

// A wrong mark of time can be set back, and a generation that was taken after the new
// mark then counts as taken at it.
func TestHighWaterIsReset(t *testing.T) {
	dir := t.TempDir()
	s, stop := open(t, dir, testOptions())
	wrong := time.Unix(2000000000, 0).UTC()
	right := time.Unix(1700000000, 0).UTC()
	g := filledGeneration()
	g.Taken = wrong
	if err := errors.Join(
		s.Cache().WriteGeneration(t.Context(), g),
		s.Cache().RaiseHighWater(offline.Stamp{Time: wrong}, time.Time{}),
		s.Cache().RaiseHighWater(offline.Stamp{Time: right, Resets: g.Resets + 1}, time.Time{}),
	); err != nil {
		t.Fatal(err)
	}
	stop()
	s, _ = open(t, dir, testOptions())
	got, err := s.Cache().Load(t.Context())
	if err != nil || !got.Taken.Equal(right) || !s.Cache().HighWater().Time.Equal(right) {
		t.Errorf("taken %v, mark %v, %v; want %v", got.Taken, s.Cache().HighWater().Time, err, right)
	}
}

func TestTornSlotKeepsTheOlderValue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "slot")
	s, err := openSlots(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []string{"one", "two", "three"} {
		if err := s.put([]byte(v), true); err != nil {
			t.Fatal(err)
		}
	}
	s.close()
	b, _ := os.ReadFile(path)
	b[bytes.Index(b, []byte("three"))] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err = openSlots(path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if got := string(s.get()); got != "two" {
		t.Errorf("%q after a torn write, want the value before it", got)
	}
}

// WriteGeneration succeeds if the generation is stored, even if the dirty mark cannot
// be removed: if it returned an error, the caller would compute losses of rights
// against the wrong generation.
func TestAGenerationStandsWithoutItsMark(t *testing.T) {
	s, _ := open(t, t.TempDir(), testOptions())
	c := s.Cache()
	if err := c.MarkDirty("disk full"); err != nil {
		t.Fatal(err)
	}
	c.dirty.close() // no mark can be written any more
	g := filledGeneration()
	if err := c.WriteGeneration(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Load(t.Context()); err != nil || got.Version != g.Version {
		t.Errorf("%v, %v", got.Version, err)
	}
	if why, dirty := c.Dirty(); dirty {
		t.Errorf("still dirty: %s", why)
	}
}
