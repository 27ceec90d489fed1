package client

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/management"
	"github.com/gatehouse/gatehouse/sync/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func num(n int) space.ID { return space.MustID(fmt.Sprintf("00000000-0000-4000-8000-%012d", n)) }

var (
	home = space.MustID("7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001")
	site = space.Root.Join(num(1)).Join(num(2))
	me   = model.Identity{Kind: model.ServicePrincipalID, Object: num(900), Tenant: home}
)

type token string

func (t token) Authorization(context.Context) (string, error) { return string(t), nil }

// cloud is a real management server that knows the gateway and an owner.
func cloud(t *testing.T) *management.Server {
	t.Helper()
	owner := model.Identity{Kind: model.UserID, Object: num(901), Tenant: home}
	s, err := management.New(management.Options{
		Store: management.NewMemoryStore(), HomeTenant: home, RequestsPerSecond: -1,
		Authenticate: func(r *http.Request) (management.Caller, error) {
			switch r.Header.Get("Authorization") {
			case "Bearer gateway":
				return management.Caller{Name: "gateway", Subject: model.Subject{Identities: []model.Identity{me}}}, nil
			case "Bearer owner":
				return management.Caller{Name: "owner", Subject: model.Subject{Identities: []model.Identity{owner}}}, nil
			}
			return management.Caller{}, errors.New("unknown")
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Release)
	c := management.Content{
		Spaces: []wire.Space{
			{ID: num(1), Name: "b"},
			{ID: num(2), Name: "f1", ParentSpaceID: num(1)},
			{ID: num(3), Name: "f2", ParentSpaceID: num(1)},
		},
		Assignments: []model.Assignment{
			{ID: num(50), Role: space.MustID(model.SpaceAdministratorRole), Who: owner, Path: space.Root},
			{ID: num(51), Role: space.MustID(model.SupportSpecialistRole), Who: me, Path: site},
			{ID: num(52), Role: space.MustID(model.TokenAdministratorRole), Who: me, Path: site},
			{ID: num(53), Role: space.MustID(model.UserRole), Who: owner, Path: space.Root.Join(num(1)).Join(num(3))},
		},
		Functions: []wire.Function{
			{ID: num(60), Name: "fn", SpaceID: num(2), Authentication: wire.FromAuth(device.Auth{Kind: device.AuthCA})},
		},
		AzureAssignments: []model.AzureAssignment{
			{ID: num(70), Role: num(71), Scope: "/s", Who: model.AzurePrincipal{ID: num(72), Type: model.AzureUser}},
		},
		AzureDenies: []model.AzureDeny{{ID: num(73), Scope: "/s", DataActions: []string{"x"}}},
	}
	for i := range 30 {
		c.Devices = append(c.Devices, wire.Device{
			ID:             num(1000 + i),
			Name:           "dev",
			HardwareID:     fmt.Sprint("H", i),
			DeviceID:       fmt.Sprint("d", i),
			SpaceID:        num(2 + i%2),
			Status:         "Active",
			Authentication: wire.FromAuth(device.Auth{Kind: device.AuthSAS, Primary: device.Secret("0123456789abcdef")}),
		})
	}
	for i := range 1600 {
		c.Sensors = append(
			c.Sensors,
			wire.Sensor{ID: num(100000 + 10*i), DeviceID: num(1000), SpaceID: num(2), HardwareID: fmt.Sprint("S", i)},
		)
	}
	if err := s.Import(c); err != nil {
		t.Fatal(err)
	}
	return s
}

func serve(t *testing.T, h http.Handler) *httptest.Server {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return s
}

func trust(s *httptest.Server) *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(s.Certificate())
	return &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
}

func connect(t *testing.T, s *httptest.Server, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{URL: s.URL, Site: site, HomeTenant: home, Token: token("Bearer gateway"), TLS: trust(s), RequestsPerSecond: 100_000}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func byID() cmp.Options {
	less := func(a, b space.ID) bool { return a.String() < b.String() }
	return cmp.Options{
		cmp.AllowUnexported(space.Path{}), cmpopts.EquateEmpty(),
		cmpopts.SortSlices(func(a, b model.Assignment) bool { return less(a.ID, b.ID) }),
		cmpopts.SortSlices(func(a, b device.Sensor) bool { return less(a.ID, b.ID) }),
		cmpopts.SortSlices(func(a, b device.Device) bool { return less(a.ID, b.ID) }),
	}
}

func TestFullReadsTheSite(t *testing.T) {
	s := cloud(t)
	var clock atomic.Int64
	c := connect(t, serve(t, s), func(o *Options) { o.OnTime = func(t time.Time, _ any) bool { clock.Store(t.Unix()); return false } })
	f, err := c.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if f.Version != s.Version() || f.Policy.Version != f.Version || len(f.Problems) != 0 {
		t.Errorf("version %v, %v; problems %v", f.Version, s.Version(), f.Problems)
	}
	if len(f.Policy.Roles) != 9 || len(f.Policy.AzureAssignments) != 1 || len(f.Policy.AzureDenies) != 1 {
		t.Errorf("%d roles, %+v", len(f.Policy.Roles), f.Policy)
	}
	var got []string
	for _, a := range f.Policy.Assignments {
		got = append(got, a.ID.String()[34:])
	}
	if strings.Join(got, " ") != "50 51 52" {
		t.Error("the site's and its ancestors' assignments, nobody else's:", got)
	}
	d := f.Data
	if len(d.Spaces) != 1 || d.Spaces[0].Path != site || len(d.Devices) != 15 || len(d.Sensors) != 1600 || len(d.Functions) != 1 {
		t.Errorf("%d spaces, %d devices, %d sensors, %d functions", len(d.Spaces), len(d.Devices), len(d.Sensors), len(d.Functions))
	}
	if string(d.Devices[0].Auth.Primary) != "0123456789abcdef" || d.Devices[0].HubID != "d0" {
		t.Errorf("%+v", d.Devices[0])
	}
	if clock.Load() == 0 {
		t.Error("the server's clock was not reported")
	}
	r, err := c.Rights(t.Context())
	if err != nil || r != (wire.Rights{Assignments: true, Spaces: true, Devices: true, Sensors: true, Functions: true, Keys: true}) {
		t.Errorf("%+v, %v", r, err)
	}
	empty, err := c.Changes(t.Context(), f.Version, 0)
	if err != nil || !empty.Empty() || empty.To != f.Version {
		t.Errorf("%+v, %v", empty, err)
	}
	if _, err := c.Changes(t.Context(), model.Version{Epoch: 1, Number: 1}, 0); !errors.Is(err, wire.ErrGap) {
		t.Errorf("an unknown epoch: %v", err)
	}
}

// If objects change between two pages, Full nevertheless returns what the server had at one version.
func TestFullIsNotTorn(t *testing.T) {
	s := cloud(t)
	handler := http.NewServeMux()
	var once sync.Once
	var n atomic.Int64
	between := func() {
		// Three changes in the ids that were read already or come later.
		i := int(n.Add(1))
		_ = s.Import(management.Content{
			Sensors: []wire.Sensor{{ID: num(100001 + 10*i), DeviceID: num(1000), SpaceID: num(2), HardwareID: fmt.Sprint("new", i)}},
		})
		r := httptest.NewRequest(http.MethodDelete, management.Base+"/sensors/"+num(100000+20*i).String(), nil)
		r.Header.Set("Authorization", "Bearer owner")
		s.ServeHTTP(httptest.NewRecorder(), r)
		r = httptest.NewRequest(http.MethodDelete, management.Base+"/sensors/"+num(115000+20*i).String(), nil)
		r.Header.Set("Authorization", "Bearer owner")
		s.ServeHTTP(httptest.NewRecorder(), r)
	}
	handler.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		s.ServeHTTP(w, r)
		if strings.HasSuffix(r.URL.Path, "/sensors") {
			once.Do(func() { // an odd one out: the pages shift
				r := httptest.NewRequest(http.MethodDelete, management.Base+"/sensors/"+num(100000).String(), nil)
				r.Header.Set("Authorization", "Bearer owner")
				s.ServeHTTP(httptest.NewRecorder(), r)
			})
			between()
		}
	})
	c := connect(t, serve(t, handler))
	quiet := connect(t, serve(t, s))
	got, err := c.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := quiet.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n.Load() < 4 {
		t.Errorf("%d pages: the first pass cannot have been whole", n.Load())
	}
	if diff := cmp.Diff(want, got, byID()); diff != "" {
		t.Error(diff)
	}
}

func TestServerWithoutFeed(t *testing.T) {
	s := cloud(t)
	var passes atomic.Int64
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/changes") || strings.Contains(r.URL.Path, "/gateway/") {
			http.NotFound(w, r)
			return
		}
		q := r.URL.Query()
		q.Del("site") // as the original service does, which ignores it
		r.URL.RawQuery = q.Encode()
		if strings.HasSuffix(r.URL.Path, "/roleassignments") && passes.Add(1) == 1 {
			// Something changes after the first pass.
			defer func() {
				_ = s.Import(
					management.Content{Sensors: []wire.Sensor{{ID: num(7), DeviceID: num(1000), SpaceID: num(2), HardwareID: "late"}}},
				)
				_ = s.Import(management.Content{
					Assignments: []model.Assignment{{ID: num(59), Role: space.MustID(model.UserRole), Who: me, Path: site}},
				})
			}()
		}
		s.ServeHTTP(w, r)
	})
	server := serve(t, handler)
	// A client that may read everything gets everything, and keeps only what is at the site.
	all := connect(t, server, func(o *Options) { o.Token = token("Bearer owner") })
	c := connect(t, server)
	f, err := c.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	g, err := all.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(g.Policy.Assignments) != 4 {
		t.Errorf("%d assignments", len(g.Policy.Assignments))
	}
	if passes.Load() < 3 || len(f.Policy.Assignments) != 3 {
		t.Errorf("%d passes, %d assignments", passes.Load(), len(f.Policy.Assignments))
	}
	if _, err := c.Changes(t.Context(), f.Version, 0); !errors.Is(err, wire.ErrNoFeed) {
		t.Error(err)
	}
}

func TestLongPoll(t *testing.T) {
	s := cloud(t)
	c := connect(t, serve(t, s))
	since := s.Version()
	type result struct {
		d   wire.Delta
		err error
	}
	done := make(chan result, 1)
	go func() {
		d, err := c.Changes(t.Context(), since, 30*time.Second)
		done <- result{d, err}
	}()
	if err := s.Import(
		management.Content{Sensors: []wire.Sensor{{ID: num(7), DeviceID: num(1000), SpaceID: num(2), HardwareID: "late"}}},
	); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-done:
		if r.err != nil || len(r.d.Data.PutSensors) != 1 || r.d.From != since || r.d.To != s.Version() {
			t.Errorf("%+v, %v", r.d, r.err)
		}
	case <-time.After(time.Minute):
		t.Fatal("not woken")
	}
}

func TestMovedSite(t *testing.T) {
	s := cloud(t)
	c := connect(t, serve(t, s), func(o *Options) { o.Site = space.Root.Join(num(2)) })
	if _, err := c.Full(t.Context()); !errors.Is(err, ErrSite) {
		t.Error(err)
	}
	c = connect(t, serve(t, s), func(o *Options) { o.Token = token("Bearer nobody") })
	if _, err := c.Full(t.Context()); !errors.Is(err, ErrUnauthorized) {
		t.Error(err)
	}
	c = connect(t, serve(t, s), func(o *Options) { o.Site = space.Root.Join(num(1)).Join(num(3)) })
	if _, err := c.Full(t.Context()); !errors.Is(err, ErrForbidden) {
		t.Error(err)
	}
}

// OnTime is called with the connection that a time came over, and the next request uses another
// connection if OnTime asks for it. OnTime is not called with a time at which the server's
// certificate is not valid.
func TestTheServersClockIsToldWithItsConnection(t *testing.T) {
	s := cloud(t)
	var words []any
	again := false
	c := connect(t, serve(t, s), func(o *Options) {
		o.OnTime = func(_ time.Time, connection any) bool { words = append(words, connection); return again }
	})
	for range 3 {
		if _, err := c.Rights(t.Context()); err != nil {
			t.Fatal(err)
		}
		again = len(words) == 2
	}
	if len(words) != 3 || words[0] != words[1] {
		t.Fatalf("%d words; the first two over one connection: %v", len(words), len(words) > 1 && words[0] == words[1])
	}
	words, again = words[:1], true
	for range 2 {
		if _, err := c.Rights(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if words[1] == words[2] {
		t.Error("another connection was wanted")
	}
	leaf := words[2].(*tls.ConnectionState).PeerCertificates[0]
	for _, said := range []time.Time{leaf.NotBefore.Add(-time.Hour), leaf.NotAfter.Add(time.Hour)} {
		n := len(words)
		c.tell(&http.Response{Header: http.Header{"Date": {said.UTC().Format(http.TimeFormat)}}, TLS: words[2].(*tls.ConnectionState)})
		if len(words) != n {
			t.Errorf("%v is believed under a certificate that is not valid then", said)
		}
	}
}
