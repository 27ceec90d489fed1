package management

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

// crowd is n devices in the room, each with an assignment of its own there. Its
// ids are the n-th from 100,000 and from 500,000 on.
func crowd(n int) (c Content) {
	for i := range n {
		id := num(100_000 + i)
		c.Devices = append(c.Devices, wire.Device{ID: id, Name: fmt.Sprintf("crowd %d", i), HardwareID: fmt.Sprintf("C%d", i),
			SpaceID: num(4), Status: "Active", DeviceID: fmt.Sprintf("crowd-%d", i)})
		c.Assignments = append(c.Assignments,
			grant(500_000+i, model.SupportSpecialistRole, model.Identity{Kind: model.DeviceID, Object: id}, room))
	}
	return c
}

// TestAFeedOfManyRecords: a change with more events than one record of the store
// takes is told in their order, also after a restart, and forgotten as a whole.
func TestAFeedOfManyRecords(t *testing.T) {
	h := start(t)
	since := h.cursor()
	if err := h.server.Import(crowd(2 * eventsInRecord)); err != nil {
		t.Fatal(err)
	}
	told := h.feed("admin", since, "")
	if n := strings.Count(told, "Create"); n != 4*eventsInRecord {
		t.Fatalf("%d changes are told, want %d", n, 4*eventsInRecord)
	}
	if got := len(feedRecords(h.store)); got != 5 { // of the building, and four of the crowd
		t.Errorf("the feed has %d records, want 5", got)
	}
	for key, value := range h.store.pairs {
		if len(value) > 1<<20 {
			t.Errorf("%s has %d bytes: more than a record of the store", key, len(value))
		}
	}
	again := open2(t, h.store)
	if got := again.feed("admin", since, ""); got != told {
		t.Error("after a restart the feed tells something else")
	}
	// The next changes push the crowd out: all of its records go.
	small := open2(t, h.store, func(o *Options) { o.FeedEvents = 2 })
	small.want(204, "admin", "PATCH", "/devices/"+num(21).String(), `{"friendlyName":"x"}`)
	if got := feedRecords(h.store); len(got) != 1 || !strings.HasSuffix(got[0], "3") {
		t.Errorf("the feed's records are %v, want only that of version 3", got)
	}
	small.want(410, "admin", "GET", "/changes?since="+since, nil)
}

// TestAChangeLargerThanTheFeed is not remembered: whoever follows reads everything again.
func TestAChangeLargerThanTheFeed(t *testing.T) {
	h := start(t, func(o *Options) { o.FeedEvents = 50 })
	since := h.cursor()
	if err := h.server.Import(crowd(30)); err != nil {
		t.Fatal(err)
	}
	if got := feedRecords(h.store); len(got) != 0 {
		t.Errorf("the feed keeps %v", got)
	}
	h.want(410, "admin", "GET", "/changes?since="+since, nil)
	now := h.cursor()
	h.want(204, "admin", "PATCH", "/devices/"+num(21).String(), `{"friendlyName":"x"}`)
	for _, server := range []*harness{h, open2(t, h.store)} {
		if got := server.feed("admin", now, ""); got != "Update Device 21" {
			t.Errorf("got %q", got)
		}
	}
}

// TestAFeedOfFormat1 has all events of a transaction in one record.
func TestAFeedOfFormat1(t *testing.T) {
	h := start(t)
	since := h.cursor()
	if err := h.server.Import(crowd(eventsInRecord)); err != nil {
		t.Fatal(err)
	}
	told := h.feed("admin", since, "")
	h.store.mu.Lock()
	one := []byte(strings.TrimSuffix(string(h.store.pairs[feedKey(2, 0)]), "]") + "," +
		strings.TrimPrefix(string(h.store.pairs[feedKey(2, 1)]), "["))
	h.store.pairs[feedKey(2, 0)] = one
	delete(h.store.pairs, feedKey(2, 1))
	h.store.pairs[metaKey] = []byte(strings.Replace(string(h.store.pairs[metaKey]), `"format":2`, `"format":1`, 1))
	h.store.mu.Unlock()
	if got := open2(t, h.store).feed("admin", since, ""); got != told {
		t.Errorf("got %d bytes, want %d", len(got), len(told))
	}
}

func TestImportRefusesAGrantTwice(t *testing.T) {
	h := start(t)
	twice := crowd(2)
	twice.Assignments[1].Who = twice.Assignments[0].Who
	again := crowd(1)
	again.Assignments[0] = grant(999, model.SpaceAdministratorRole, people()["admin"], space.Root)
	for name, c := range map[string]Content{"within": twice, "against what is there": again} {
		before := h.cursor()
		if err := h.server.Import(c); err == nil || !strings.Contains(err.Error(), "already exists") || h.cursor() != before {
			t.Errorf("%s: %v", name, err)
		}
	}
	same := Content{Assignments: []model.Assignment{grant(51, model.SpaceAdministratorRole, people()["admin"], space.Root)}}
	if err := h.server.Import(same); err != nil {
		t.Errorf("the same assignment under its own id: %v", err)
	}
}

// TestASubtreeTakesItsCrowdAlong removes devices, their sensors and assignments in one change.
func TestASubtreeTakesItsCrowdAlong(t *testing.T) {
	h := start(t)
	if err := h.server.Import(crowd(1200)); err != nil {
		t.Fatal(err)
	}
	h.want(204, "admin", "DELETE", "/spaces/"+num(4).String(), nil)
	if got := h.ids("admin", "/devices"); got != "21 23" {
		t.Errorf("devices: %s", got)
	}
	if n := len(h.server.state.Load().assignments.list); n != len(smallBuilding().Assignments) {
		t.Errorf("%d assignments stay", n)
	}
}

func feedRecords(m *MemoryStore) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var keys []string
	for _, k := range slices.Sorted(maps.Keys(m.pairs)) {
		if strings.HasPrefix(k, "feed/") {
			keys = append(keys, k)
		}
	}
	return keys
}
