package twins

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/device/update/manifest/manifesttest"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Bucket without a disk.
type memory struct {
	mu     sync.Mutex
	values map[string][]byte
	broken bool
}

func (m *memory) Put(key string, value []byte, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.broken {
		go done(errors.New("disk full"))
		return
	}
	m.values[key] = append([]byte(nil), value...)
	go done(nil)
}

func (m *memory) Delete(key string, done func(error)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, key)
	go done(nil)
}

func (m *memory) Load(yield func(string, []byte) error) error {
	for k, v := range m.values {
		if err := yield(k, v); err != nil {
			return err
		}
	}
	return nil
}

// cloud is an Upstream with one twin that the test can change.
type cloud struct {
	mu       sync.Mutex
	err      error           // what each call returns: nil, twin.ErrOffline or twin.ErrNoTwin
	absent   map[string]bool // identities for which a call returns twin.ErrNoTwin
	reject   bool
	desired  string // with $version
	reported strictjson.Value
	version  int64
	patches  []string
}

func (c *cloud) TwinGet(context.Context, string) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil, c.err
	}
	return fmt.Appendf(nil, `{"desired":%s,"reported":%s}`, c.desired,
		c.reported.With("$version", strictjson.IntValue(c.version)).Bytes()), nil
}

func (c *cloud) PatchReported(_ context.Context, id string, patch []byte) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.absent[id] {
		return 0, twin.ErrNoTwin
	}
	if c.err != nil {
		return 0, c.err
	}
	if c.reject {
		return 0, twin.ErrRejected
	}
	v, err := strictjson.Parse(patch, strictjson.Limits{})
	if err != nil {
		return 0, err
	}
	c.patches = append(c.patches, string(patch))
	c.version++
	c.reported = strictjson.Merge(c.reported, v)
	return c.version, nil
}

func (c *cloud) set(f func()) { c.mu.Lock(); defer c.mu.Unlock(); f() }

type rights struct {
	mu     sync.Mutex
	denied map[update.Action]bool
}

func (r *rights) May(_ context.Context, _ update.Initiator, a update.Action, _ string) update.Decision {
	r.mu.Lock()
	defer r.mu.Unlock()
	return update.Decision{Allowed: !r.denied[a], Reason: "no-assignment"}
}

func (r *rights) deny(a update.Action, yes bool) { r.mu.Lock(); defer r.mu.Unlock(); r.denied[a] = yes }

var signer = sync.OnceValue(func() *manifesttest.Authority {
	a, err := manifesttest.New()
	if err != nil {
		panic(err)
	}
	return a
})

// harness is a Service with a real guard and fakes of the device, the upstream and the store.
type harness struct {
	t       *testing.T
	s       *Service
	guard   *update.Guard
	up      *cloud
	store   *memory
	journal *memory
	rights  *rights
	stop    func()

	mu   sync.Mutex
	here bool
	sent []string // topic and body of each message that the device got
	said []string // reasons of the guard's refusals
}

func start(t *testing.T, change func(*Options)) *harness {
	h := &harness{
		t:       t,
		here:    true,
		store:   &memory{values: map[string][]byte{}},
		journal: &memory{values: map[string][]byte{}},
		rights:  &rights{denied: map[update.Action]bool{}},
		up:      &cloud{desired: `{"interval":5,"$version":3}`, reported: strictjson.ObjectValue(), version: 7},
	}
	h.restart(change)
	return h
}

func (h *harness) restart(change func(*Options)) {
	h.t.Helper()
	if h.stop != nil {
		h.stop()
	}
	h.guard = update.New(update.Options{
		Authorizer: h.rights,
		Journal:    Journal{Bucket: h.journal},
		Verifier:   manifest.NewVerifier(manifest.Options{Roots: signer().Roots()}),
		Recheck:    func(d string) { h.s.Recheck(d) },
		Audit: func(r update.AuditRecord) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if !r.Allowed {
				h.said = append(h.said, r.Device+" "+r.Reason)
			}
		},
	})
	o := Options{
		Upstream: h.up,
		Store:    h.store,
		Guard:    h.guard,
		Local:    h.guard.Local,
		Present:  func(string) bool { h.mu.Lock(); defer h.mu.Unlock(); return h.here },
		Send: func(key string, m *message.Message) int {
			h.mu.Lock()
			defer h.mu.Unlock()
			if key != "device:d1" || !h.here {
				return 0
			}
			h.sent = append(h.sent, m.Topic+" "+string(m.Payload))
			return 1
		},
		SendSession: func(session string, m *message.Message) bool {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.sent = append(h.sent, session+" "+m.Topic+" "+string(m.Payload))
			return true
		},
		Initiator: func(p *principal.Principal) update.Initiator { return update.Initiator{Name: p.Key} },
	}
	if change != nil {
		change(&o)
	}
	h.s = New(o)
	if err := errors.Join(h.guard.Load(), h.s.Load()); err != nil {
		h.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = h.s.Run(ctx) }()
	h.stop = func() { cancel(); <-done }
	synctest.Wait()
}

func (h *harness) setHere(here bool) { h.mu.Lock(); defer h.mu.Unlock(); h.here = here }

// took waits until no job runs, and returns the messages that the device got since the last call.
func (h *harness) took() []string {
	synctest.Wait()
	h.mu.Lock()
	defer h.mu.Unlock()
	got := h.sent
	h.sent = nil
	return got
}

func (h *harness) one() string {
	h.t.Helper()
	got := h.took()
	if len(got) != 1 {
		h.t.Fatalf("the device got %q, want one message", got)
	}
	return got[0]
}

// Online has everything read again, as after a new connection.
func (s *Service) Online(id string) { s.doOrRefresh(id, s.refresh) }

var dev = &principal.Principal{Kind: principal.Device, Key: "device:d1", DeviceID: "d1"}

// ask hands in a request and returns the code of its acknowledgement; -1 for none.
func (h *harness) ask(p *principal.Principal, handling message.Handling, body string) int {
	h.t.Helper()
	code := -1
	m := &message.Message{Payload: []byte(body), Publisher: p, Via: message.Route{Handling: handling, Request: "r"}}
	if !h.s.Handle(p, "session", m, func(c byte) { code = int(c) }) {
		h.t.Fatal("not handled")
	}
	synctest.Wait()
	return code
}

func service(id, version string) string {
	text := manifesttest.Update{
		ID:           manifest.UpdateID{Provider: "C", Name: "T", Version: version},
		Manufacturer: "C",
		Model:        "T",
		FileID:       "f1",
		FileName:     "f",
		Content:      []byte("x"),
		Created:      "x",
	}.Manifest()
	return fmt.Sprintf(`{"workflow":{"action":3,"id":%q},"updateManifest":%q,`+
		`"updateManifestSignature":%q,"fileUrls":{"f1":"http://x.dl.adu.microsoft.com/f"}}`, id, text, signer().Sign(text))
}
