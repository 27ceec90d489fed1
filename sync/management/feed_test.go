package management

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func (h *harness) cursor() string { return h.server.Version().String() }

// feed lists "Access Type id" of an answer, in order.
func (h *harness) feed(who, since, more string) string {
	h.Helper()
	a := h.want(200, who, "GET", "/changes?since="+since+more, nil)
	f, err := wire.ParseFeed([]byte(a.body))
	if err != nil {
		h.Fatalf("%s: %v", a.body, err)
	}
	if _, err := wire.ToDelta(f, home); err != nil {
		h.Fatalf("%s: %v", a.body, err)
	}
	var out []string
	for _, c := range f.Changes {
		id := c.ID.String()
		out = append(out, fmt.Sprintf("%s %s %s", c.Access, c.Type, strings.TrimLeft(id[len(id)-3:], "0")))
	}
	return strings.Join(out, ", ")
}

func TestFeedShowsWhatTheCallerMaySee(t *testing.T) {
	h := start(t)
	since := h.cursor()
	h.want(204, "admin", "PATCH", "/devices/"+num(23).String(), `{"friendlyName":"x"}`)
	h.want(204, "admin", "PATCH", "/devices/"+num(21).String(), `{"friendlyName":"x"}`)
	h.want(204, "admin", "PATCH", "/devices/"+num(21).String(), `{"friendlyName":"y"}`)
	h.want(204, "admin", "DELETE", "/roleassignments/"+num(53).String(), nil)
	for _, tt := range []struct{ who, more, want string }{
		{"admin", "", "Update Device 23, Update Device 21, Delete SpaceRoleAssignment 53"},
		{"support", "", "Update Device 21"},
		{"site", "&site=" + floor1.String(), "Update Device 21, Delete SpaceRoleAssignment 53"},
		{"site", "&site=" + room.String(), "Delete SpaceRoleAssignment 53"},
		{"gateway", "", "Update Device 21"},
		{"stranger", "", ""},
	} {
		if got := h.feed(tt.who, since, tt.more); got != tt.want {
			t.Errorf("%s %s: got %q, want %q", tt.who, tt.more, got, tt.want)
		}
	}
	// A caller that lost a right sees other objects now, so it must read everything
	// again.
	h.want(410, "installer", "GET", "/changes?since="+since, nil)
}

func TestFeedTranslatesMoves(t *testing.T) {
	h := start(t)
	since := h.cursor()
	h.want(204, "admin", "PATCH", "/devices/"+num(22).String(), `{"spaceId":"`+num(3).String()+`"}`)
	if got := h.feed("support", since, ""); got != "Delete Device 22" {
		t.Error("out of sight:", got)
	}
	mid := h.cursor()
	h.want(204, "admin", "PATCH", "/devices/"+num(22).String(), `{"spaceId":"`+num(2).String()+`"}`)
	if got := h.feed("support", mid, ""); got != "Create Device 22" {
		t.Error("into sight:", got)
	}
	if got := h.feed("support", since, ""); got != "Update Device 22" {
		t.Error("both:", got)
	}
	mid = h.cursor()
	h.want(204, "admin", "DELETE", "/devices/"+num(22).String(), nil)
	if got := h.feed("support", mid, ""); got != "Delete Sensor 32, Delete Device 22" {
		t.Error("deleted:", got)
	}
}

// A subtree that moves out of a site leaves it wholly, and arrives wholly.
func TestFeedOfAMovedSpace(t *testing.T) {
	h := start(t)
	h.want(
		201,
		"admin",
		"POST",
		"/roleassignments",
		assignmentBody(model.UserRole, num(107).String(), "UserId", `"`+home.String()+`"`, room.String()),
	)
	since := h.cursor()
	h.want(204, "admin", "PATCH", "/spaces/"+num(4).String(), `{"parentSpaceId":"`+num(3).String()+`"}`)
	got := strings.Split(h.feed("support", since, ""), ", ")
	slices.Sort(got)
	if len(got) != 4 || !strings.HasPrefix(got[3], "Delete SpaceRoleAssignment") ||
		strings.Join(got[:3], ", ") != "Delete Device 22, Delete Sensor 32, Delete Space 4" {
		t.Error("left:", got)
	}
	got = strings.Split(h.feed("admin", since, "&site="+floor2.String()), ", ")
	slices.Sort(got)
	if len(got) != 4 || !strings.HasPrefix(got[3], "Create SpaceRoleAssignment") ||
		strings.Join(got[:3], ", ") != "Create Device 22, Create Sensor 32, Create Space 4" {
		t.Error("arrived:", got)
	}
}

func TestFeedHidesKeys(t *testing.T) {
	h := start(t)
	since := h.cursor()
	h.want(204, "admin", "PATCH", "/devices/"+num(21).String(), `{"friendlyName":"x"}`)
	for who, want := range map[string]bool{"site": true, "support": false} {
		a := h.want(200, who, "GET", "/changes?since="+since, nil)
		if strings.Contains(a.body, "MDEyMzQ1Njc4OWFiY2RlZg==") != want {
			t.Errorf("%s: %s", who, a.body)
		}
	}
}

func TestLongPollWakesAtOnce(t *testing.T) {
	h := start(t)
	since := h.cursor()
	done := make(chan string)
	go func() { done <- h.feed("site", since, "&wait=30&site="+floor1.String()) }()
	// A change outside the site does not end the site's long poll.
	h.want(204, "admin", "PATCH", "/devices/"+num(23).String(), `{"friendlyName":"x"}`)
	select {
	case got := <-done:
		t.Fatalf("woken for nothing: %q", got)
	case <-time.After(50 * time.Millisecond):
	}
	h.want(204, "admin", "DELETE", "/roleassignments/"+num(54).String(), nil)
	select {
	case got := <-done:
		if got != "Delete SpaceRoleAssignment 54" {
			t.Errorf("got %q", got)
		}
	case <-time.After(time.Minute):
		t.Fatal("never woken")
	}
}

func TestLongPollEnds(t *testing.T) {
	h := start(t, func(o *Options) { o.MaxWait = 20 * time.Millisecond })
	if got := h.feed("site", h.cursor(), "&wait=30"); got != "" {
		t.Errorf("got %q", got)
	}
	h2 := start(t)
	done := make(chan string)
	go func() { done <- h2.feed("site", h2.cursor(), "&wait=30") }()
	h2.server.Release()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("Release does not end a long poll")
	}
}

func TestCursors(t *testing.T) {
	h := start(t, func(o *Options) { o.FeedEvents = 3 })
	v := h.server.Version()
	var cursors []model.Version
	for i := range 5 {
		cursors = append(cursors, h.server.Version())
		h.want(204, "admin", "PATCH", "/devices/"+num(21).String(), fmt.Sprintf(`{"friendlyName":"x%d"}`, i))
	}
	for i, c := range cursors {
		want := 200
		if i < 2 {
			want = 410 // forgotten
		}
		h.want(want, "admin", "GET", "/changes?since="+c.String(), nil)
	}
	h.want(410, "admin", "GET", fmt.Sprintf("/changes?since=%d.%d", v.Epoch+1, h.server.Version().Number), nil)
	h.want(410, "admin", "GET", fmt.Sprintf("/changes?since=%d.%d", v.Epoch, v.Number+100), nil)
	for _, bad := range []string{"x", "1", "1.x", "-1.1", "1.1.1"} {
		h.want(400, "admin", "GET", "/changes?since="+bad, nil)
	}
	for _, bad := range []string{"x", "-1", "NaN", "1e9"} {
		h.want(400, "admin", "GET", "/changes?since="+v.String()+"&wait="+bad, nil)
	}
	f, err := wire.ParseFeed([]byte(h.want(200, "stranger", "GET", "/gateway/changes", nil).body))
	if err != nil || f.To != h.server.Version() {
		t.Errorf("without a cursor: %+v, %v", f, err)
	}
}

func TestRestartKeepsEverything(t *testing.T) {
	h := start(t, func(o *Options) { o.FeedEvents = 60 })
	since := h.cursor()
	h.want(204, "admin", "PATCH", "/devices/"+num(22).String(), `{"spaceId":"`+num(3).String()+`"}`)
	h.want(204, "admin", "DELETE", "/roleassignments/"+num(53).String(), nil)
	h.want(204, "admin", "PATCH", "/spaces/"+num(4).String(), `{"parentSpaceId":"`+num(3).String()+`"}`)
	before := map[string]string{}
	paths := []string{
		"/devices?includes=ConnectionString,FullPath",
		"/sensors?includes=FullPath",
		"/spaces?includes=FullPath",
		"/roleassignments?path=/&traverse=Down",
		"/userdefinedfunctions?includes=ConnectionString",
		"/changes?since=" + since,
	}
	for _, p := range paths {
		before[p] = h.want(200, "admin", "GET", p, nil).body
	}
	again := open2(t, h.store)
	if again.server.Version() != h.server.Version() {
		t.Errorf("got %v, want %v", again.server.Version(), h.server.Version())
	}
	for _, p := range paths {
		if got := again.want(200, "admin", "GET", p, nil).body; got != before[p] {
			t.Errorf("%s:\n%s\n%s", p, before[p], got)
		}
	}
	again.want(410, "installer", "GET", "/changes?since="+since, nil)

	restored := open2(t, h.store, func(o *Options) { o.Restored = true })
	if restored.server.Version().Epoch == h.server.Version().Epoch {
		t.Error("a restored store needs a new epoch")
	}
	restored.want(410, "admin", "GET", "/changes?since="+since, nil)
	one, other := open2(t, NewMemoryStore()), open2(t, NewMemoryStore())
	if one.server.Version().Epoch == other.server.Version().Epoch {
		t.Error("two new stores with one epoch")
	}
}

type brokenStore struct {
	*MemoryStore
	broken bool
}

func (b *brokenStore) Commit(ops []Op) error {
	if b.broken {
		return fmt.Errorf("disk full")
	}
	return b.MemoryStore.Commit(ops)
}

func TestWhatCannotBeStoredDidNotHappen(t *testing.T) {
	store := &brokenStore{MemoryStore: NewMemoryStore()}
	h := start(t, func(o *Options) { o.Store = store })
	since := h.cursor()
	store.broken = true
	a := h.want(503, "admin", "DELETE", "/roleassignments/"+num(52).String(), nil)
	if a.header.Get("Retry-After") == "" || strings.Contains(a.body, "disk") {
		t.Error(a)
	}
	if h.cursor() != since || h.feed("admin", since, "") != "" {
		t.Error("a failed commit left traces")
	}
	if got := h.ids("floor", "/devices"); got != "21 22" {
		t.Error("got", got)
	}
	store.broken = false
	h.want(204, "admin", "DELETE", "/roleassignments/"+num(52).String(), nil)
	if got := h.feed("admin", since, ""); got != "Delete SpaceRoleAssignment 52" {
		t.Errorf("got %q", got)
	}
}

func TestThrottle(t *testing.T) {
	h := start(t, func(o *Options) { o.RequestsPerSecond = 0.001 })
	h.want(200, "admin", "GET", "/system/roles", nil)
	a := h.want(429, "admin", "GET", "/system/roles", nil)
	if a.header.Get("Retry-After") != "1" || !strings.Contains(a.body, "The request has been throttled") {
		t.Error(a)
	}
	h.want(401, "nobody", "GET", "/system/roles", nil)
}

func TestAzureItems(t *testing.T) {
	h := start(t)
	since := h.cursor()
	item := wire.FromAzureAssignment(model.AzureAssignment{ID: num(70), Role: num(71), Scope: "/subscriptions/s",
		Who: model.AzurePrincipal{ID: num(72), Type: model.AzureServicePrincipal}})
	path := "/gateway/azure/roleassignments"
	h.want(403, "floor", "PUT", path+"/"+num(70).String(), item)
	h.want(400, "admin", "PUT", path+"/"+num(71).String(), item)
	h.want(204, "admin", "PUT", path+"/"+num(70).String(), item)
	deny := wire.FromAzureDeny(model.AzureDeny{
		ID:          num(73),
		Scope:       "/",
		DataActions: []string{"*"},
		Principals:  []model.AzurePrincipal{{Type: model.AzureEveryone}},
	})
	h.want(204, "admin", "PUT", "/gateway/azure/denyassignments/"+num(73).String(), deny)
	role := wire.FromAzureRole(model.AzureRole{ID: num(71), Name: "R", DataActions: []string{"a/*"}})
	h.want(204, "admin", "PUT", "/gateway/azure/RoleDefinitions/"+num(71).String(), role)
	for _, tt := range []struct{ who, query, want string }{
		{"admin", "", "/subscriptions/s/providers"}, {"site", "", ""}, {"site", "?site=" + floor1.String(), "/subscriptions/s/providers"},
		{"site", "?site=" + floor2.String(), ""}, {"gateway", "?site=" + floor1.String(), ""},
	} {
		a := h.want(200, tt.who, "GET", path+tt.query, nil)
		if (tt.want == "") != (a.body == "[]") || !strings.Contains(a.body, tt.want) {
			t.Errorf("%s %s: %s", tt.who, tt.query, a.body)
		}
	}
	want := "Create AzureRoleAssignment 70, Create AzureDenyAssignment 73, Create AzureRoleDefinition 71"
	if got := h.feed("site", since, "&site="+floor1.String()); got != want {
		t.Errorf("got %q", got)
	}
	mid := h.cursor()
	h.want(403, "floor", "DELETE", path+"/"+num(70).String(), nil)
	h.want(204, "admin", "DELETE", path+"/"+num(70).String(), nil)
	h.want(404, "admin", "DELETE", path+"/"+num(70).String(), nil)
	if got := h.feed("site", mid, "&site="+floor1.String()); got != "Delete AzureRoleAssignment 70" {
		t.Errorf("got %q", got)
	}
}

func TestRights(t *testing.T) {
	h := start(t)
	for _, tt := range []struct {
		who  string
		site space.Path
		want wire.Rights
	}{
		{"site", floor1, wire.Rights{Assignments: true, Spaces: true, Devices: true, Sensors: true, Functions: true, Keys: true}},
		{"support", floor1, wire.Rights{Assignments: true, Spaces: true, Devices: true, Sensors: true, Functions: true}},
		{"site", floor2, wire.Rights{}},
		{"gateway", room, wire.Rights{Devices: true, Sensors: true}},
	} {
		a := h.want(200, tt.who, "GET", "/gateway/rights?site="+tt.site.String(), nil)
		got, err := wire.ParseRights([]byte(a.body))
		if err != nil || got != tt.want {
			t.Errorf("%s %s: %+v, %v", tt.who, tt.site, got, err)
		}
	}
	h.want(404, "site", "GET", "/gateway/rights?site="+floor2.Join(num(99)).String(), nil)
}
