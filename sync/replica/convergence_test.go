package replica_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/client"
	"github.com/gatehouse/gatehouse/sync/management"
	"github.com/gatehouse/gatehouse/sync/replica"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func num(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

var (
	home    = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001")
	site    = space.Root.Join(num(1)).Join(num(2))
	gateway = model.Identity{Kind: model.ServicePrincipalID, Object: num(900), Tenant: home}
	owner   = model.Identity{Kind: model.UserID, Object: num(901), Tenant: home}
)

type token string

func (t token) Authorization(context.Context) (string, error) { return "Bearer " + string(t), nil }

// world is a real server over TLS, a real client, and a replica between them.
type world struct {
	*testing.T
	server *management.Server
	store  *management.MemoryStore
	serves atomic.Pointer[management.Server] // what the address answers with: server
	http   *httptest.Server
	client *client.Client
	copy   *copied
	r      *replica.Replica
	stop   func() // ends the replica
}

func serverOn(t *testing.T, store management.Store) *management.Server {
	t.Helper()
	server, err := management.New(management.Options{
		Store: store, HomeTenant: home, RequestsPerSecond: -1,
		Authenticate: func(r *http.Request) (management.Caller, error) {
			who, ok := map[string]model.Identity{"Bearer gateway": gateway, "Bearer owner": owner}[r.Header.Get("Authorization")]
			if !ok {
				return management.Caller{}, errors.New("unknown")
			}
			return management.Caller{Subject: model.Subject{Identities: []model.Identity{who}}}, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return server
}

func newWorld(t *testing.T, change ...func(*replica.Options)) *world {
	w := &world{T: t, store: management.NewMemoryStore(), copy: &copied{}}
	server := serverOn(t, w.store)
	c := management.Content{Assignments: []model.Assignment{
		{ID: num(50), Role: space.MustID(model.SpaceAdministratorRole), Who: owner, Path: space.Root},
		{ID: num(51), Role: space.MustID(model.SupportSpecialistRole), Who: gateway, Path: site},
		{ID: num(52), Role: space.MustID(model.TokenAdministratorRole), Who: gateway, Path: site},
	}}
	for id, parent := range []int{1: 0, 2: 1, 3: 1, 4: 2, 5: 2, 6: 3, 7: 4} {
		if id > 0 {
			w := wire.Space{ID: num(id), Name: fmt.Sprint("space ", id)}
			if parent > 0 {
				w.ParentSpaceID = num(parent)
			}
			c.Spaces = append(c.Spaces, w)
		}
	}
	if err := server.Import(c); err != nil {
		t.Fatal(err)
	}
	w.become(server)
	w.http = httptest.NewTLSServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.serves.Load().ServeHTTP(rw, r) }))
	pool := x509.NewCertPool()
	pool.AddCert(w.http.Certificate())
	var err error
	w.client, err = client.New(client.Options{URL: w.http.URL, Site: site, HomeTenant: home, Token: token("gateway"),
		TLS: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}, RequestsPerSecond: 100_000})
	if err != nil {
		t.Fatal(err)
	}
	o := replica.Options{Source: w.client, Sink: w.copy, ConfirmAfter: time.Millisecond, MinBackoff: time.Millisecond}
	for _, f := range change {
		f(&o)
	}
	w.r, err = replica.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.r.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		w.stop()
		w.server.Release()
		w.client.Close()
		w.http.Close()
	})
	return w
}

// become lets another server answer at the address, as after a restart.
func (w *world) become(server *management.Server) {
	w.server = server
	if old := w.serves.Swap(server); old != nil {
		old.Release()
	}
}

// do sends a request of the owner straight to the handler.
func (w *world) do(method, path, body string) (int, string) {
	r := httptest.NewRequest(method, management.Base+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer owner")
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	return rec.Code, strings.Trim(rec.Body.String(), `"`)
}

// catchUp waits until the replica is in step with the server.
func (w *world) catchUp() {
	w.Helper()
	deadline := time.Now().Add(time.Minute)
	for w.r.Status().Cursor != w.server.Version() {
		if time.Now().After(deadline) {
			w.Fatalf("not in step: %+v, server %s", w.r.Status(), w.server.Version())
		}
		w.r.Wake()
		time.Sleep(time.Millisecond)
	}
}

// copied is a sink that keeps objects by id, and does nothing that the contract of Sink does not say.
type copied struct {
	mu       sync.Mutex
	version  model.Version
	replaces int
	applies  int
	full     wire.Full
	applied  chan model.Version // told of every delta, if the channel has capacity
}

func (c *copied) Replace(_ context.Context, f replica.Full) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.full, c.version = f, f.Version
	c.replaces++
	return nil
}

func (c *copied) Apply(_ context.Context, d replica.Delta) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.From != c.version {
		return fmt.Errorf("from %s, held %s: %w", d.From, c.version, replica.ErrGap)
	}
	p, q := &c.full.Policy, &d.Policy
	p.Assignments = change(p.Assignments, q.RemoveAssigns, q.PutAssignments, func(v model.Assignment) space.ID { return v.ID })
	p.AzureAssignments = change(
		p.AzureAssignments,
		q.RemoveAzureAssigns,
		q.PutAzureAssignments,
		func(v model.AzureAssignment) space.ID { return v.ID },
	)
	r, s := &c.full.Data, &d.Data
	r.Spaces = change(r.Spaces, s.RemoveSpaces, s.PutSpaces, func(v device.Space) space.ID { return v.ID })
	r.Devices = change(r.Devices, s.RemoveDevices, s.PutDevices, func(v device.Device) space.ID { return v.ID })
	r.Sensors = change(r.Sensors, s.RemoveSensors, s.PutSensors, func(v device.Sensor) space.ID { return v.ID })
	c.version, c.full.Version, c.full.Policy.Version = d.To, d.To, d.To
	c.applies++
	select {
	case c.applied <- d.To:
	default:
	}
	return nil
}

func change[T any](have []T, remove []space.ID, put []T, id func(T) space.ID) []T {
	have = slices.DeleteFunc(slices.Clone(have), func(v T) bool {
		return slices.Contains(remove, id(v)) || slices.ContainsFunc(put, func(p T) bool { return id(p) == id(v) })
	})
	return append(have, put...)
}

func sorted() cmp.Options {
	less := func(a, b space.ID) bool { return a.String() < b.String() }
	return cmp.Options{
		cmp.AllowUnexported(space.Path{}), cmpopts.EquateEmpty(),
		cmpopts.IgnoreFields(wire.Full{}, "Version"), cmpopts.IgnoreFields(model.Snapshot{}, "Version"),
		cmpopts.SortSlices(func(a, b model.Assignment) bool { return less(a.ID, b.ID) }),
		cmpopts.SortSlices(func(a, b model.AzureAssignment) bool { return less(a.ID, b.ID) }),
		cmpopts.SortSlices(func(a, b device.Space) bool { return less(a.ID, b.ID) }),
		cmpopts.SortSlices(func(a, b device.Device) bool { return less(a.ID, b.ID) }),
		cmpopts.SortSlices(func(a, b device.Sensor) bool { return less(a.ID, b.ID) }),
	}
}

// mutate makes a random change anywhere in the building.
func (w *world) mutate(rng *rand.Rand, devices, sensors, grants *[]string) {
	pick := func(list []string) string {
		if len(list) == 0 {
			return num(999).String()
		}
		return list[rng.IntN(len(list))]
	}
	where := func() string { return num(1 + rng.IntN(7)).String() }
	n := rng.Uint32()
	switch rng.IntN(12) {
	case 0, 1:
		if code, id := w.do("POST", "/devices", fmt.Sprintf(`{"name":"dev","hardwareId":"H%d","spaceId":%q}`, n, where())); code == 201 {
			*devices = append(*devices, id)
		}
	case 2, 3:
		if code, id := w.do(
			"POST",
			"/sensors",
			fmt.Sprintf(`{"deviceId":%q,"hardwareId":"S%d","spaceId":%q}`, pick(*devices), n, where()),
		); code == 201 {
			*sensors = append(*sensors, id)
		}
	case 4:
		w.do("PATCH", "/devices/"+pick(*devices), fmt.Sprintf(`{"spaceId":%q}`, where()))
	case 5:
		w.do("PATCH", "/devices/"+pick(*devices), `{"status":"Disabled"}`)
	case 6:
		w.do("PATCH", "/sensors/"+pick(*sensors), fmt.Sprintf(`{"spaceId":%q}`, where()))
	case 7:
		w.do("DELETE", "/devices/"+pick(*devices), "")
	case 8:
		w.do("DELETE", "/sensors/"+pick(*sensors), "")
	case 9:
		path := []space.Path{space.Root, site.Join(num(4)), site, space.Root.Join(num(1))}[rng.IntN(4)]
		body := fmt.Sprintf(
			`{"roleId":%q,"objectId":%q,"objectIdType":"UserId","tenantId":%q,"path":%q}`,
			model.UserRole,
			num(2000+int(n%50)),
			home,
			path,
		)
		if code, id := w.do("POST", "/roleassignments", body); code == 201 {
			*grants = append(*grants, id)
		}
	case 10:
		w.do("DELETE", "/roleassignments/"+pick(*grants), "")
	case 11: // not of the site itself, whose path would end with it
		w.do("PATCH", "/spaces/"+num(4+rng.IntN(4)).String(), fmt.Sprintf(`{"parentSpaceId":%q}`, where()))
	}
}

// A copy that is kept by deltas alone equals a full read, which is the oracle.
func TestDeltasLeadToTheSameAsAFullRead(t *testing.T) {
	for seed := range uint64(4) {
		w := newWorld(t)
		rng := rand.New(rand.NewPCG(seed, 1))
		var devices, sensors, grants []string
		w.catchUp()
		for i := range 150 {
			w.mutate(rng, &devices, &sensors, &grants)
			if i%50 == 49 {
				w.catchUp()
				want, err := w.client.Full(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				w.copy.mu.Lock()
				if diff := cmp.Diff(want, w.copy.full, sorted()); diff != "" {
					t.Fatalf("seed %d, step %d: %s", seed, i, diff)
				}
				w.copy.mu.Unlock()
			}
		}
		if w.copy.replaces != 1 || w.copy.applies == 0 {
			t.Errorf(
				"seed %d: %d full reads, %d deltas: the oracle compared a full read with itself",
				seed,
				w.copy.replaces,
				w.copy.applies,
			)
		}
	}
}

// When the gateway's own rights change, it may read other objects than before, and the feed does not
// list these. The replica must read everything again.
func TestOwnRightsChange(t *testing.T) {
	w := newWorld(t)
	w.catchUp()
	if code, body := w.do("POST", "/devices", fmt.Sprintf(`{"name":"dev","hardwareId":"H","spaceId":%q}`, num(4))); code != 201 {
		t.Fatal(code, body)
	}
	w.catchUp()
	keys := func() int {
		w.copy.mu.Lock()
		defer w.copy.mu.Unlock()
		return len(w.copy.full.Data.Devices[0].Auth.Primary)
	}
	if keys() == 0 {
		t.Fatal("no key at first")
	}
	if code, _ := w.do("DELETE", "/roleassignments/"+num(52).String(), ""); code != 204 {
		t.Fatal(code)
	}
	deadline := time.Now().Add(time.Minute)
	for w.r.Status().Health.Code != replica.RightsLost {
		if time.Now().After(deadline) {
			t.Fatalf("%+v", w.r.Status())
		}
		time.Sleep(time.Millisecond)
	}
	if keys() == 0 {
		t.Error("the keys are gone from a good cache")
	}
}

// A commit reaches the sink within milliseconds; the test logs the time. The limit in the test is
// much longer, because test machines are busy, but shorter than the half minute after which the long
// poll would end by itself.
func TestACommitArrivesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.copy.applied = make(chan model.Version, 100)
	w.catchUp()
	var took []time.Duration
	for i := range 60 {
		body := fmt.Sprintf(
			`{"roleId":%q,"objectId":%q,"objectIdType":"UserId","tenantId":%q,"path":%q}`,
			model.UserRole,
			num(3000+i),
			home,
			site,
		)
		start := time.Now()
		if code, answer := w.do("POST", "/roleassignments", body); code != 201 {
			t.Fatal(code, answer)
		}
		want := w.server.Version()
		for got := range w.copy.applied {
			if got == want {
				break
			}
		}
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	t.Logf("from POST to sink: median %v, p99 %v", took[len(took)/2], took[len(took)*99/100])
	if took[len(took)/2] > 10*time.Second {
		t.Errorf("median %v", took[len(took)/2])
	}
}
