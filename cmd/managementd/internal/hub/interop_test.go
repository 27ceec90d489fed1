package hub

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/device/update/manifest"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/twins"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

// linked is a gateway's cloud side over a real connection to this hub: link,
// twins and guard. The device behind it is the test's.
type linked struct {
	t     *testing.T
	twins *twins.Service
	guard *update.Guard
	link  *iothub.Hub
	store *bucket

	mu     sync.Mutex
	denied map[update.Action]bool
	got    []string
}

type bucket struct {
	mu     sync.Mutex
	values map[string][]byte
}

func (b *bucket) Put(k string, v []byte, done func(error)) {
	b.mu.Lock()
	b.values[k] = v
	b.mu.Unlock()
	done(nil)
}

func (b *bucket) Delete(k string, done func(error)) {
	b.mu.Lock()
	delete(b.values, k)
	b.mu.Unlock()
	done(nil)
}

func (b *bucket) Load(func(string, []byte) error) error { return nil }

func (l *linked) May(_ context.Context, _ update.Initiator, a update.Action, _ string) update.Decision {
	l.mu.Lock()
	defer l.mu.Unlock()
	return update.Decision{Allowed: !l.denied[a], Reason: "no-assignment"}
}

func (l *linked) deny(yes bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range []update.Action{update.Create, update.Cancel, update.CancelReleased, update.Retry} {
		l.denied[a] = yes
	}
}

func (l *linked) TwinGet(ctx context.Context, id string) ([]byte, error) {
	s, err := l.link.Session(id)
	if err != nil {
		return nil, twin.ErrNoTwin
	}
	return s.TwinGet(ctx)
}

func (l *linked) PatchReported(ctx context.Context, id string, patch []byte) (int64, error) {
	s, err := l.link.Session(id)
	if err != nil {
		return 0, twin.ErrNoTwin
	}
	v, err := s.PatchReported(ctx, patch)
	if status := (*iothub.StatusError)(nil); errors.As(err, &status) && status.Status == 400 {
		err = twin.ErrRejected
	}
	return v, err
}

func (l *linked) send(_ string, m *message.Message) int {
	l.mu.Lock()
	l.got = append(l.got, m.Topic+" "+string(m.Payload))
	l.mu.Unlock()
	if rid, ok := strings.CutPrefix(m.Topic, "$iothub/methods/POST/reboot/?$rid="); ok {
		answer := &message.Message{Payload: []byte(`"rebooting"`), Via: message.Route{
			Handling: message.MethodResponse,
			Request:  rid,
			Status:   202,
		}}
		go l.twins.Handle(behind, "", answer, func(byte) {})
	}
	return 1
}

// saw tells whether the device ever got something that holds the text.
func (l *linked) saw(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, m := range l.got {
		if strings.Contains(m, text) {
			return true
		}
	}
	return false
}

var behind = &principal.Principal{Kind: principal.Device, Key: "device:sas", DeviceID: "sas"}

func link(t *testing.T, w *world) *linked {
	t.Helper()
	l := &linked{t: t, denied: map[update.Action]bool{}, store: &bucket{values: map[string][]byte{}}}
	var err error
	l.link, err = iothub.New(iothub.Options{
		Host:    host,
		Address: w.addr,
		TLS:     &tls.Config{InsecureSkipVerify: true}, // the hub's identity is not the subject here
		Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, network, w.addr)
		},
		Gateway: iothub.Gateway{Device: "sas2", Key: []byte("secret")},
		Keys:    func(d string) ([]byte, bool) { return []byte("secret"), d == "sas" },
		Sign:    func(h, d string, key []byte, until time.Time) string { return Token(h, ID{d, ""}, key, until) },
		Handlers: iothub.Handlers{
			Twin:    func(d string, body []byte) { l.twins.Twin(d, body) },
			Desired: func(d string, _ int64, patch []byte) { l.twins.DesiredPatch(d, patch) },
			Method: func(d string, m iothub.Method) {
				go func() {
					status, body := l.twins.Method(t.Context(), d, m.Name, m.Payload)
					if s, err := l.link.Session(d); err == nil {
						_ = s.Respond(m.Request, status, body)
					}
				}()
			},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	l.guard = update.New(update.Options{Authorizer: l, Journal: twins.Journal{Bucket: &bucket{values: map[string][]byte{}}},
		Verifier: manifest.NewVerifier(manifest.Options{Roots: signer().Roots()}), Recheck: func(d string) { l.twins.Recheck(d) }})
	l.twins = twins.New(twins.Options{
		Upstream: l,
		Store:    l.store,
		Guard:    l.guard,
		Send:     l.send,
		Present:  func(string) bool { return true },
	})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = l.twins.Run(ctx) })
	running.Go(func() { _ = l.link.Run(ctx) })
	s, err := l.link.Session("sas")
	if err != nil {
		t.Fatal(err)
	}
	release := s.Hold()
	t.Cleanup(func() { release(); cancel(); running.Wait() })
	eventually(t, "the device's session", func() bool { return w.hub.Connected(ID{"sas", ""}) })
	return l
}

// The sixth assert of the smoke test, without the broker: a deployment reaches
// the device, what is not authorised never does, and the cloud is told.
func TestDeploymentsThroughAGateway(t *testing.T) {
	w := start(t)
	l := link(t, w)
	id := ID{"sas", ""}
	deploy := func(workflow, version string, tamper bool) {
		t.Helper()
		d, err := w.hub.Sign(workflow, DemoUpdate(version, "Contoso", "T", time.Now()), "http://x.b.nlu.dl.adu.microsoft.com/f")
		if err != nil {
			t.Fatal(err)
		}
		if tamper {
			d.Manifest = Tamper(d.Manifest)
		}
		if _, err := w.hub.Deploy(id, d); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(code string) func() bool {
		return func() bool {
			doc, err := w.hub.Twin(id)
			return err == nil && strings.Contains(string(doc.Reported.Value.Bytes()), code)
		}
	}
	deploy("good-1", "1.1", false)
	eventually(t, "the deployment", func() bool { return l.saw(`"id":"good-1"`) })
	deploy("tampered", "1.2", true)
	eventually(t, "the refusal of a changed manifest", refused("E6A70019"))
	l.deny(true)
	deploy("denied", "1.3", false)
	eventually(t, "the refusal", refused(`"id":"denied"`))
	if _, err := w.hub.Cancel(id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the refusal of the cancel", refused(`"action":255`))
	l.twins.Handle(behind, "", &message.Message{Via: message.Route{Handling: message.TwinGet, Request: "g"}}, func(byte) {})
	eventually(t, "the twin", func() bool { return l.saw("$iothub/twin/res/200/?$rid=g") })
	for _, never := range []string{`"id":"tampered"},"updateManifest`, `"id":"denied"},"updateManifest`,
		`"service":{"workflow":{"action":255`} {
		if l.saw(never) {
			t.Errorf("the device saw %s", never)
		}
	}
	l.deny(false)
	if err := l.guard.Reauthorize(t.Context()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the cancel, once it is authorised", func() bool { return l.saw(`"service":{"workflow":{"action":255`) })
}

func TestMethodThroughAGateway(t *testing.T) {
	w := start(t)
	link(t, w)
	var status int
	var body []byte
	eventually(t, "the link's subscription", func() bool {
		var err error
		// Before its probe is back the link cannot answer.
		status, body, err = w.hub.Invoke(t.Context(), ID{"sas", ""}, "reboot", nil, 2*time.Second)
		return err == nil
	})
	if status != 202 || string(body) != `"rebooting"` {
		t.Errorf("%d %s", status, body)
	}
}
