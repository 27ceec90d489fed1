package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/store"
	"github.com/gatehouse/gatehouse/gateway/upstream"
)

// world is what a Watch looks at. mu guards all of it, because a Watch runs on its own goroutine.
type world struct {
	mu        sync.Mutex
	link      string
	throttled time.Time
	box       upstream.Stats
	disk      store.Stats
	refuse    error
	hang      bool
	records   int
	key       error
	damage    []store.Quarantine
	ending    []x509.Validity
	problems  []error
	registry  *device.Topology

	health *health.Tracker
	watch  *Watch
}

func (w *world) Status() (state, detail, target string, since time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.link, "connection refused", "mqtt://hub.example:1883", time.Time{}
}

func (w *world) Throttled() time.Time { w.mu.Lock(); defer w.mu.Unlock(); return w.throttled }

type box struct{ *world }

func (w box) Stats() upstream.Stats { w.mu.Lock(); defer w.mu.Unlock(); return w.box }

type disk struct{ *world }

func (w disk) Stats() store.Stats { w.mu.Lock(); defer w.mu.Unlock(); return w.disk }
func (w disk) Quiet() bool        { return false }
func (w disk) Quarantined() []store.Quarantine {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.damage
}
func (w disk) SealingKey() error { w.mu.Lock(); defer w.mu.Unlock(); return w.key }

func (w *world) Problems() []error       { w.mu.Lock(); defer w.mu.Unlock(); return w.problems }
func (w *world) Ending() []x509.Validity { w.mu.Lock(); defer w.mu.Unlock(); return w.ending }

func (w *world) record(done func(error)) {
	w.mu.Lock()
	err, hang := w.refuse, w.hang
	w.records++
	w.mu.Unlock()
	if !hang {
		done(err)
	}
}

// set changes the world.
func (w *world) set(f func(*world)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

// raised is the severity and text of a warning; "" if it is not raised.
func (w *world) raised(name string) string {
	all := w.health.Report().Warnings
	if i := slices.IndexFunc(all, func(x health.Warning) bool { return x.Name == name }); i >= 0 {
		return all[i].Severity.String() + ": " + all[i].Text + " | " + all[i].Next
	}
	return ""
}

// TestUpstreamCertificate: the file is read again and again, so that a renewed one ends the warning.
func TestUpstreamCertificate(t *testing.T) {
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "c.pem"), filepath.Join(dir, "k.pem")
	named := func(c *config.Config) {
		c.Upstream.MQTT.Cert, c.Upstream.MQTT.Key = config.File(cert), config.SecretFile(key)
	}
	inWorldWith(t, config.UpstreamMQTT, named, func(t *testing.T, w *world) {
		renew := func(days time.Duration) {
			from := time.Now().Add(-365 * 24 * time.Hour)
			own, err := x509.NewSelfSigned("gw", from, time.Now().Add(days*24*time.Hour+12*time.Hour).Sub(from))
			if err != nil {
				t.Fatal(err)
			}
			pem, secret, err := own.PEM()
			if err := errors.Join(err, os.WriteFile(cert, pem, 0o600), os.WriteFile(key, secret, 0o600)); err != nil {
				t.Fatal(err)
			}
			after(time.Minute)
		}
		for _, phase := range []struct {
			days time.Duration
			want string
		}{{31, ""}, {29, "notice"}, {6, "degraded"}, {0, "failing"}, {-2, "failing"}, {31, ""}} {
			renew(phase.days)
			w.expect(t, fmt.Sprint(int(phase.days), " days"), "upstream-certificate", phase.want)
		}
	})
}

// inWorld runs a watch over a world in which all is well, by a clock of its own.
func inWorld(t *testing.T, mode string, play func(t *testing.T, w *world)) {
	t.Helper()
	inWorldWith(t, mode, func(*config.Config) {}, play)
}

// inWorldWith is inWorld with a configuration that is changed before the start.
func inWorldWith(t *testing.T, mode string, change func(*config.Config), play func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{link: "connected", disk: store.Stats{Free: 10 << 30, MinFree: 64 << 20}, health: health.New(nil)}
		cfg := config.Default()
		cfg.Upstream.Mode = mode
		cfg.Outbox.MaxBytes, cfg.Outbox.MaxMessages = 1000, 100
		change(&cfg)
		w.watch = New(Options{
			Config:   &cfg,
			Health:   w.health,
			Store:    disk{w},
			Record:   w.record,
			Outbox:   box{w},
			Link:     w,
			Identity: w,
			Registry: func() *device.Topology { w.mu.Lock(); defer w.mu.Unlock(); return w.registry },
			Now:      time.Now,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- w.watch.Run(ctx) }()
		synctest.Wait()
		if all := w.health.Report().Warnings; len(all) > 0 {
			t.Errorf("all is well, and health says %+v", all)
		}
		play(t, w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// after lets time pass, and the look at its end be taken.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// expect checks a warning now; "" expects that it is not raised.
func (w *world) expect(t *testing.T, when, name, want string, texts ...string) {
	t.Helper()
	got := w.raised(name)
	severity, _, _ := strings.Cut(got, ":")
	if severity != want {
		t.Errorf("%s: %s is %q, want %q", when, name, got, want)
		return
	}
	for _, text := range texts {
		if !strings.Contains(got, text) {
			t.Errorf("%s: %s says %q, without %q", when, name, got, text)
		}
	}
	if _, next, _ := strings.Cut(got, " | "); want != "" && next == "" {
		t.Errorf("%s: %s has no remedy", when, name)
	}
}

func TestUpstreamDown(t *testing.T) {
	inWorld(t, config.UpstreamMQTT, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.link, w.box.Waiting = "connecting", 12 })
		after(29 * time.Second)
		w.expect(t, "down for 29 s", "upstream-down", "")
		after(3 * time.Second)
		w.expect(t, "down for 32 s", "upstream-down", "degraded", "mqtt://hub.example:1883", "connection refused", "12 messages wait", "doctor")
		w.set(func(w *world) { w.link = "connected" })
		after(2 * time.Second)
		w.expect(t, "up for 2 s", "upstream-down", "degraded", "does not stay")
		after(10 * time.Second)
		w.expect(t, "up for 12 s", "upstream-down", "")
	})
}

// A link that comes up for two seconds in ten is down.
func TestUpstreamThatDoesNotStay(t *testing.T) {
	inWorld(t, config.UpstreamMQTT, func(t *testing.T, w *world) {
		for range 4 {
			w.set(func(w *world) { w.link = "connecting" })
			after(8 * time.Second)
			w.set(func(w *world) { w.link = "connected" })
			after(2 * time.Second)
		}
		w.expect(t, "40 s of this", "upstream-down", "degraded")
	})
}

func TestOutboxFull(t *testing.T) {
	inWorld(t, config.UpstreamMQTT, func(t *testing.T, w *world) {
		for _, c := range []struct {
			bytes    int64
			messages int
			want     string
		}{
			{499, 1, ""}, {500, 1, "notice"}, {460, 1, "notice"}, {449, 1, ""}, {10, 80, "degraded"}, {760, 1, "degraded"}, {740, 1, "notice"},
			{950, 1, "failing"}, {910, 1, "failing"}, {890, 1, "degraded"}, {0, 0, ""},
		} {
			w.set(func(w *world) { w.box.Bytes, w.box.Messages = c.bytes, c.messages })
			after(6 * time.Second)
			w.expect(t, fmt.Sprintf("%d bytes, %d messages", c.bytes, c.messages), "outbox-full", c.want)
		}
	})
}

func TestOutboxOldest(t *testing.T) {
	inWorld(t, config.UpstreamMQTT, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.box.Oldest, w.box.Waiting = time.Now(), 3 })
		after(14 * time.Minute)
		w.expect(t, "14 minutes", "outbox-oldest", "")
		after(70 * time.Second)
		w.expect(t, "15 minutes", "outbox-oldest", "degraded", "3 messages", "outbox list")
		w.set(func(w *world) { w.box.Oldest = time.Time{} })
		after(6 * time.Second)
		w.expect(t, "sent", "outbox-oldest", "")
	})
}

func TestParkedAndPaused(t *testing.T) {
	inWorld(t, config.UpstreamMQTT, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.box.Parked, w.box.ParkedDropped, w.box.Paused = 2, 1, true })
		after(6 * time.Second)
		w.expect(t, "parked", "outbox-parked", "degraded", "2 messages", "outbox parked")
		w.expect(t, "paused", "outbox-paused", "degraded", "outbox resume")
		w.set(func(w *world) { w.box.Parked, w.box.Paused = 0, false })
		after(6 * time.Second)
		w.expect(t, "retried", "outbox-parked", "")
		w.expect(t, "resumed", "outbox-paused", "")
	})
}

func TestPublishersThrottled(t *testing.T) {
	inWorld(t, config.UpstreamMQTT, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.box.Refused = map[string]uint64{upstream.ReasonFull: 7} })
		after(6 * time.Second)
		w.expect(t, "7 refused", "publishers-throttled", "degraded", "7 publishes were refused")
		after(time.Minute)
		w.expect(t, "a minute later", "publishers-throttled", "")
		w.set(func(w *world) { w.box.Withheld = 3 })
		after(6 * time.Second)
		w.expect(t, "3 wait", "publishers-throttled", "degraded", "3 wait")
		w.set(func(w *world) { w.box.Withheld = 0 })
		after(6 * time.Second)
		w.expect(t, "taken", "publishers-throttled", "")
	})
}

func TestUpstreamThrottled(t *testing.T) {
	inWorld(t, config.UpstreamIoTHub, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.throttled = time.Now() })
		after(2 * time.Second)
		w.expect(t, "429", "upstream-throttled", "degraded", "429", "units")
		after(time.Minute)
		w.expect(t, "a minute later", "upstream-throttled", "")
	})
}

// TestDiskRefuses: within a second of the first commit that fails, or of the free space gone, without a
// record written while nothing points to it.
func TestDiskRefuses(t *testing.T) {
	full := &store.Error{Op: "commit", Err: store.ErrDiskFull}
	inWorld(t, config.UpstreamNone, func(t *testing.T, w *world) {
		after(time.Minute)
		if w.records > 0 {
			t.Errorf("%d records were written to look at a disk that is well", w.records)
		}
		w.set(func(w *world) { w.refuse, w.disk.FailedCommits = full, 1 })
		after(time.Second)
		w.expect(t, "a commit failed", "store-refuses", "failing", "too little free space", "free space")
		after(10 * time.Second)
		w.expect(t, "it lasts", "store-refuses", "failing")
		w.set(func(w *world) { w.refuse = nil })
		after(time.Second)
		w.expect(t, "space again", "store-refuses", "")
		written := w.records
		w.set(func(w *world) { w.refuse, w.disk.Free = full, 32<<20 })
		after(time.Second)
		w.expect(t, "nobody publishes, and the disk is full", "store-refuses", "failing", "32 MiB free, 64 MiB wanted")
		after(10 * time.Second)
		if w.records != written {
			t.Errorf("%d records were written to a disk that is full", w.records-written)
		}
		w.set(func(w *world) { w.refuse, w.disk.Free = nil, 10<<30 })
		after(time.Second)
		w.expect(t, "space again", "store-refuses", "")
	})
}

// A store that hangs is told to whoever asks, the watchdog, and stops no look.
func TestStoreHangs(t *testing.T) {
	inWorld(t, config.UpstreamMQTT, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.hang, w.disk.FailedCommits = true, 1 })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := w.watch.Stored(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a store that hangs: %v", err)
		}
		w.set(func(w *world) { w.link = "connecting" })
		after(time.Minute + 10*time.Second)
		w.expect(t, "meanwhile", "upstream-down", "degraded")
	})
}

// Damage that is found while the daemon runs is told by the next self-test.
func TestDamageFoundWhileItRuns(t *testing.T) {
	inWorld(t, config.UpstreamNone, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.damage = []store.Quarantine{{Store: "outbox", Reason: "3 messages cannot be read"}} })
		if err := w.watch.Stored(t.Context()); err != nil {
			t.Fatal(err)
		}
		w.expect(t, "damaged", "store-quarantined-outbox", "degraded", "3 messages cannot be read")
	})
}

func TestSealingKey(t *testing.T) {
	inWorld(t, config.UpstreamNone, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.key = errors.New("stat /var/lib/gatehouse/key: no such file") })
		after(time.Minute)
		w.expect(t, "gone", "sealing-key", "failing", "no such file", "backup")
		w.set(func(w *world) { w.key = nil })
		after(time.Minute)
		w.expect(t, "back", "sealing-key", "")
	})
}

func TestCertificateAuthorities(t *testing.T) {
	inWorld(t, config.UpstreamNone, func(t *testing.T, w *world) {
		for _, c := range []struct {
			days int
			want string
		}{{31, ""}, {29, "notice"}, {6, "degraded"}, {0, "failing"}, {31, ""}} {
			w.set(func(w *world) {
				end := time.Now().Add(time.Duration(c.days)*24*time.Hour + 12*time.Hour)
				w.ending = []x509.Validity{{ID: "ca-7", Space: "/b", NotBefore: end.Add(-365 * 24 * time.Hour), NotAfter: end}}
			})
			after(time.Minute)
			texts := []string{"authority ca-7 at /b", "new authority"}
			if c.want == "" {
				texts = nil
			}
			w.expect(t, fmt.Sprint(c.days, " days"), "certificate-authority-expiring", c.want, texts...)
		}
		w.set(func(w *world) { w.problems = []error{errors.New("certificate authority ca-8: not a CA certificate")} })
		after(time.Minute)
		w.expect(t, "unusable", "certificate-authority", "degraded", "ca-8", "renew")
		w.set(func(w *world) { w.problems = nil })
		after(time.Minute)
		w.expect(t, "replaced", "certificate-authority", "")
	})
}

func TestUnserved(t *testing.T) {
	topology := func(list ...device.Device) *device.Topology {
		topo, _ := device.NewTopology(device.Data{Devices: list}, device.Options{})
		return topo
	}
	sas := device.Device{ID: space.ID{1}, HubID: "sas", Status: device.Active,
		Auth: device.Auth{Kind: device.AuthSAS, Primary: device.Secret("k")}}
	cert := device.Device{ID: space.ID{2}, HubID: "cert", Status: device.Active, Auth: device.Auth{Kind: device.AuthCA},
		Modules: []device.Module{{ID: "m", Auth: device.Auth{Kind: device.AuthSAS}}}}
	gateway := func(c *config.Config) { c.Upstream.IoTHub.GatewayDevice.ID = "gw" }
	inWorldWith(t, config.UpstreamIoTHub, gateway, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.registry = topology(sas, cert) })
		after(time.Second)
		w.expect(t, "one of each", "upstream-unserved", "notice", "2 devices", "cert; cert/m")
		off := device.Device{ID: space.ID{3}, HubID: "off", Status: device.Disabled, Auth: device.Auth{Kind: device.AuthCA}}
		own := device.Device{ID: space.ID{4}, HubID: "gw", Status: device.Active, Auth: device.Auth{Kind: device.AuthCA}}
		w.set(func(w *world) { w.registry = topology(sas, off, own) })
		after(time.Second)
		w.expect(t, "SAS, one that is disabled, and the gateway itself", "upstream-unserved", "")
	})
	inWorld(t, config.UpstreamMQTT, func(t *testing.T, w *world) {
		w.set(func(w *world) { w.registry = topology(cert) })
		after(time.Second)
		w.expect(t, "a broker serves by topics", "upstream-unserved", "")
	})
}

func TestFlapping(t *testing.T) {
	inWorld(t, config.UpstreamNone, func(t *testing.T, w *world) {
		connect := func(principal, id string) { w.watch.Connects.Connected(time.Now(), principal, id, 1) }
		for range 9 {
			connect("device:a", "a")
			after(4 * time.Second)
		}
		w.expect(t, "9 connections", "client-flapping", "")
		for i := range 30 { // one service with many programs
			connect("user:b", fmt.Sprint("program-", i))
		}
		after(time.Second)
		w.expect(t, "30 clients of one service", "client-flapping", "")
		for range 4 {
			connect("device:a", "a")
			after(2 * time.Second)
		}
		w.expect(t, "13 connections in a minute", "client-flapping", "degraded", `client "a" of device:a`, "audit")
		after(3 * time.Minute)
		w.expect(t, "it stays", "client-flapping", "")
	})
}

// However many clients connect, the memory for them is bounded, and one that flaps is not forgotten for those that do not.
func TestFlappingIsBounded(t *testing.T) {
	c := newConnects()
	at := time.Unix(1e9, 0)
	for range flapConnects {
		c.Connected(at, "device:a", "a", 1)
	}
	for i := range 3 * maxClients {
		c.Connected(at, "device:x", fmt.Sprint(i), 1)
	}
	if len(c.clients) > maxClients {
		t.Errorf("%d clients are remembered", len(c.clients))
	}
	if got := c.flapping(at); len(got) != 1 || got[0].id != "a" {
		t.Errorf("flapping: %v", got)
	}
}
