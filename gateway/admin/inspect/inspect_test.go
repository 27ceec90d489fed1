package inspect_test

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/authz"
	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/admin/inspect"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/sync/replica"
)

// threeSessions are two connected sessions of olga, and one without a principal yet.
func threeSessions() []broker.SessionInfo {
	return []broker.SessionInfo{
		{
			Key:       "s1",
			ClientID:  "c1",
			Principal: user("olga"),
			Listener:  "mqtt",
			Version:   5,
			Connected: true,
		},
		{Key: "s2", ClientID: "c2", Principal: user("olga"), Listener: "local"},
		{Key: "s3", ClientID: "c3"},
	}
}

// The status document and the metrics give the same number for the same thing.
func TestStatusAddsUp(t *testing.T) {
	h := newFixture(t)
	h.broker.sessions = threeSessions()
	h.broker.stats = broker.Stats{
		Received:    10,
		Refused:     4,
		Dropped:     map[string]uint64{"queue-full": 1},
		Sessions:    3,
		Connections: 1,
	}
	h.outbox = upstream.Stats{
		Restored: 1,
		Accepted: 2,
		Acked:    1,
		Waiting:  1,
		Bytes:    77,
		Dropped:  map[string]uint64{"expired": 1},
	}
	for range 2 { // twice, because a request must not change the numbers
		s := h.inspector.Status()
		c, m := s.Cache, s.Messages
		if c.Version != "1.1" || c.Devices != 1 || c.Sensors != 1 || c.Spaces != 1 || c.Assignments != 1 || c.AgeSeconds != 90 {
			t.Errorf("cache %+v", c)
		}
		if m.Accepted != 6 || m.Denied != 4 || m.ForUpstream != 3 || m.Forwarded != 1 || m.Dropped != 2 || m.Lost() != 1 {
			t.Errorf("messages %+v", m)
		}
		if s.Outbox.Messages != 1 || s.Outbox.Bytes != 77 || s.Outbox.LimitBytes != 1000 || s.Upstream.State != "connected" {
			t.Errorf("outbox %+v, upstream %+v", s.Outbox, s.Upstream)
		}
		if !maps.Equal(s.Deployments, map[string]int64{"queued": 2}) || s.Sessions.ByKind["user"] != 1 {
			t.Errorf("deployments %v, sessions %+v", s.Deployments, s.Sessions)
		}
		if len(s.Listeners) != 2 || s.Listeners[0].Connections != 1 || s.Listeners[1].Connections != 0 {
			t.Errorf("listeners %+v", s.Listeners)
		}
		g := h.inspector.Gauges()
		if g.Accepted != 6 || g.Dropped["upstream-expired"] != 1 || g.Roles != c.Roles || g.Devices != 1 || !g.UpstreamConnected ||
			g.AuditSuppressed != 5 || g.AuditMissed != 1 || len(g.CertificateSecondsLeft) != 2 || g.CertificateSecondsLeft["listener-old"] != -60 {
			t.Errorf("gauges %+v", g)
		}
	}
	h.loaded = false
	if v := h.inspector.Status().Cache.Version; v != "" {
		t.Errorf("version %q before any policy is known", v)
	}
}

// The registry's records are counted anew when another registry is in force, even if it has the same
// version number.
func TestRecordsAreCountedAnew(t *testing.T) {
	h := newFixture(t)
	if n := h.inspector.Status().Cache.Devices; n != 1 {
		t.Fatalf("%d devices", n)
	}
	h.topology, _ = device.NewTopology(device.Data{}, device.Options{Version: h.topology.Version()})
	if n := h.inspector.Status().Cache.Devices; n != 0 {
		t.Errorf("%d devices after all are gone", n)
	}
}

// Roles counts the roles that can grant something: a valid custom role is counted, and one that is
// refused is not.
func TestRolesAreCounted(t *testing.T) {
	h := newFixture(t)
	before := h.inspector.Gauges().Roles
	custom := model.Role{ID: num(50), Name: "Custom", Permissions: []model.Permission{{Actions: model.Read}}}
	refused := model.Role{ID: num(51), Name: "Odd",
		Permissions: []model.Permission{{Actions: model.Read, Condition: "@Resource.Owner == 'me'"}}}
	var problems []authz.Problem
	h.index, problems = authz.Compile(model.Snapshot{Roles: []model.Role{custom, refused}})
	if after := h.inspector.Gauges().Roles; after != before+1 || len(problems) != 1 {
		t.Errorf("%d roles, then %d, problems %v", before, after, problems)
	}
}

func TestSessions(t *testing.T) {
	h := newFixture(t)
	h.broker.sessions = threeSessions()
	for name, c := range map[string]struct {
		q    admin.SessionQuery
		want string
	}{
		"all":               {admin.SessionQuery{}, "s1 s2 s3"},
		"connected":         {admin.SessionQuery{Connected: true}, "s1"},
		"by name, any case": {admin.SessionQuery{Principal: "OLG"}, "s1 s2"},
		"by client id":      {admin.SessionQuery{Principal: "c3"}, "s3"},
		"the first":         {admin.SessionQuery{Limit: 1}, "s1"},
		"nobody":            {admin.SessionQuery{Principal: "oskar"}, ""},
	} {
		list := h.inspector.Sessions(c.q)
		var keys []string
		for _, s := range list {
			keys = append(keys, s.Key)
		}
		if got := strings.Join(keys, " "); got != c.want || list == nil {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
	s := h.inspector.Sessions(admin.SessionQuery{Limit: 1})[0]
	if s.Protocol != "5" || s.Name != "olga" || !slices.Equal(s.Suspended, []string{"b"}) || len(s.Subscriptions) != 2 {
		t.Errorf("%+v", s)
	}
}

// A principal is disconnected once, however many sessions it has, and no other principal is.
func TestDisconnect(t *testing.T) {
	h := newFixture(t)
	h.broker.sessions = threeSessions()
	r, err := h.inspector.Disconnect(admin.DisconnectRequest{Principal: "user:olga", Reason: "maintenance"})
	if err != nil || r.Closed != 2 || !slices.Equal(h.broker.ended, []string{"principal user:olga: maintenance"}) {
		t.Errorf("%+v, %v, ended %q", r, err, h.broker.ended)
	}
	h.broker.ended = nil
	r, err = h.inspector.Disconnect(admin.DisconnectRequest{Session: "s2"})
	if err != nil || r.Closed != 1 || !slices.Equal(h.broker.ended, []string{"session s2: an operator asked for it"}) {
		t.Errorf("%+v, %v, ended %q", r, err, h.broker.ended)
	}
	var refused *admin.Error
	if _, err = h.inspector.Disconnect(admin.DisconnectRequest{Principal: "oskar"}); !errors.As(err, &refused) || refused.Status != 404 {
		t.Errorf("nobody of that name: %v", err)
	}
}

func TestAssignments(t *testing.T) {
	h := newFixture(t)
	h.stored.AzureAssignments = []model.AzureAssignment{{ID: num(111), Scope: "/subscriptions/s", Who: model.AzurePrincipal{ID: num(40)}}}
	site := space.Root.Join(num(2)).String()
	for name, c := range map[string]struct {
		q    admin.AssignmentQuery
		want int
	}{
		"all":                    {admin.AssignmentQuery{}, 2},
		"at the site":            {admin.AssignmentQuery{Path: site}, 1},
		"at the device's place":  {admin.AssignmentQuery{Path: "gw"}, 1},
		"at the root":            {admin.AssignmentQuery{Path: "/"}, 0},
		"at the root and below":  {admin.AssignmentQuery{Path: "/", Down: true}, 1},
		"of the device, by name": {admin.AssignmentQuery{Principal: "(GW)"}, 1},
	} {
		list, err := h.inspector.Assignments(t.Context(), c.q)
		if err != nil || len(list) != c.want {
			t.Errorf("%s: %+v, %v; want %d", name, list, err, c.want)
		}
	}
	if _, err := h.inspector.Assignments(t.Context(), admin.AssignmentQuery{Path: "nowhere"}); err == nil {
		t.Error("a place that nobody knows is answered")
	}
	h.stored = nil
	if _, err := h.inspector.Assignments(t.Context(), admin.AssignmentQuery{}); err == nil {
		t.Error("an empty cache is answered like a policy that grants nothing")
	}
}

// descriptors is what doctor says of a process with the limit of this one.
func descriptors(t *testing.T) string {
	t.Helper()
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	if limit.Cur < 1024 {
		return "warn"
	}
	return "ok"
}

func TestDoctor(t *testing.T) {
	h := newFixture(t)
	h.stored.Assignments[0].Path = space.Root
	h.report.Warnings = []health.Warning{{Name: "cloud-sync", Severity: health.Degraded}, {Name: "cache-empty", Severity: health.Failing},
		{Name: "certificate-authority", Severity: health.Degraded}}
	states := func() map[string]string {
		all := map[string]string{}
		for _, f := range h.inspector.Doctor(t.Context()) {
			all[f.Name] = f.State
		}
		return all
	}
	want := map[string]string{"certificate-authority": "warn", "root-assignment": "notice", "cloud-sync": "warn", "cache-empty": "fail",
		"listener-mqtt-certificate": "ok", "policy": "ok", "clock": "ok", "space": "ok", "state-directory": "warn", "files": "ok",
		"descriptors": descriptors(t), "devices-never-connect": "warn"}
	if got := states(); !maps.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	h.stage = offline.Stale
	if _, fresh := states()["policy"]; fresh {
		t.Error("a policy that has aged is called good")
	}
}

// fakeReplica ends a synchronisation one second after it was asked for.
type fakeReplica struct {
	status atomic.Pointer[replica.Status]
	fails  atomic.Bool
}

func (r *fakeReplica) Status() replica.Status {
	if s := r.status.Load(); s != nil {
		return *s
	}
	return replica.Status{Health: replica.Health{Code: replica.InStep}}
}

func (r *fakeReplica) end(full bool) {
	go func() {
		time.Sleep(time.Second)
		s := r.Status()
		if r.fails.Load() {
			s.Failures, s.LastError = s.Failures+1, "connection refused"
		} else {
			s.Syncs, s.Version.Number = s.Syncs+1, s.Version.Number+2
		}
		if full {
			s.Fulls++
		}
		r.status.Store(&s)
	}()
}

func (r *fakeReplica) Wake() { r.end(false) }

func (r *fakeReplica) WakeFull() { r.end(true) }

// Sync waits for the outcome of the synchronisation that it asked for, not of an earlier one.
func TestSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newFixture(t)
		for _, full := range []bool{false, true} {
			r, err := h.inspector.Sync(t.Context(), admin.SyncRequest{Full: full})
			if err != nil || r.Changes != 2 || r.Seconds < 1 {
				t.Errorf("full %v: %+v, %v", full, r, err)
			}
		}
		status := func(err error) int {
			var refused *admin.Error
			if !errors.As(err, &refused) {
				t.Fatalf("%v", err)
			}
			return refused.Status
		}
		short, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		defer cancel()
		if _, err := h.inspector.Sync(short, admin.SyncRequest{}); status(err) != 504 {
			t.Errorf("no answer in time: %v", err)
		}
		time.Sleep(2 * time.Second) // until that synchronisation has ended
		synctest.Wait()
		h.replica.fails.Store(true)
		if _, err := h.inspector.Sync(t.Context(), admin.SyncRequest{}); status(err) != 502 ||
			!strings.Contains(err.Error(), "connection refused") {
			t.Errorf("a failed exchange: %v", err)
		}
		if _, err := inspect.New(inspect.Options{}).Sync(t.Context(), admin.SyncRequest{}); status(err) != 409 {
			t.Errorf("without a cloud: %v", err)
		}
	})
}

// A place may be named as it is printed.
func TestPlacesByName(t *testing.T) {
	h := newFixture(t)
	sources := h.inspector.Sources()
	spaces, err := sources.Spaces(t.Context())
	if err != nil || len(spaces) != 1 || spaces[0] != (admin.Place{ID: num(2).String(), Name: "b"}) {
		t.Fatalf("%+v %v", spaces, err)
	}
	byID, err := sources.Assignments(t.Context(), admin.AssignmentQuery{Path: "/" + num(2).String()})
	if err != nil || len(byID) == 0 {
		t.Fatalf("%+v %v", byID, err)
	}
	byName, err := sources.Assignments(t.Context(), admin.AssignmentQuery{Path: "b"})
	if err != nil || len(byName) != len(byID) {
		t.Errorf("by name: %+v %v", byName, err)
	}
	if _, err := sources.Assignments(t.Context(), admin.AssignmentQuery{Path: "c"}); err == nil {
		t.Error("a place that nobody knows")
	}
	if s := h.inspector.Status(); s.SiteName != "" { // the whole instance
		t.Errorf("site %q", s.SiteName)
	}
}
