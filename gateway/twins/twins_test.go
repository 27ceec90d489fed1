package twins

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func TestGetOnlineAndOffline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.up.set(func() { h.up.err = twin.ErrOffline })
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/res/503/?$rid=r") {
			t.Error(got)
		}
		h.up.set(func() { h.up.err = nil })
		h.ask(dev, message.TwinGet, "")
		const want = `$iothub/twin/res/200/?$rid=r {"desired":{"interval":5,"$version":3},"reported":{"$version":7}}`
		if got := h.one(); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		h.up.set(func() { h.up.err = twin.ErrOffline })
		h.restart(nil)
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); got != want {
			t.Errorf("offline after a restart: %s, want %s", got, want)
		}
	})
}

func TestReportedIsQueuedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.ask(dev, message.TwinGet, "")
		h.up.set(func() { h.up.err = twin.ErrOffline })
		h.took()
		for i, body := range []string{`{"a":{"x":1,"y":2}}`, `{"a":null}`, `{"a":{"x":3}}`, `{"b":1}`} {
			if code := h.ask(dev, message.TwinReported, body); code != 0 {
				t.Fatalf("%d: code %d", i, code)
			}
			if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/res/204/?$rid=r&$version=") {
				t.Error(got)
			}
		}
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.Contains(got, `"reported":{"a":{"x":3},"b":1,`) {
			t.Errorf("the device does not see its own reports: %s", got)
		}
		h.restart(nil)
		h.up.set(func() { h.up.err = nil })
		h.s.Online("d1")
		h.took()
		if got := string(h.up.reported.Bytes()); got != `{"a":{"x":3},"b":1}` {
			t.Errorf("upstream has %s after %q", got, h.up.patches)
		}
		h.up.set(func() { h.up.patches = nil })
		h.s.Twin("d1", []byte(`{"desired":{"interval":8,"$version":4},"reported":{"$version":9}}`))
		if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/PATCH/properties/desired/?$version=4 ") {
			t.Error(got)
		}
		h.s.Twin("d1", []byte(`{"desired":[]}`))
		h.s.Online("d1")
		h.took()
		if len(h.up.patches) != 0 {
			t.Errorf("sent again: %q", h.up.patches)
		}
	})
}

func TestNotAcknowledgedUnlessDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.store.broken = true
		if code := h.ask(dev, message.TwinReported, `{"a":1}`); code != int(message.UnspecifiedError) {
			t.Errorf("code %#x", code)
		}
		h.took()
		h.store.broken = false
		if code := h.ask(dev, message.TwinReported, `{"a":1,"a":2}`); code != 0 {
			t.Errorf("code %#x", code)
		}
		if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/res/400/") {
			t.Error(got)
		}
		if len(h.up.patches) != 0 {
			t.Errorf("upstream got %q", h.up.patches)
		}
		h.up.set(func() { h.up.reject = true })
		h.ask(dev, message.TwinReported, `{"bad":1}`)
		h.up.set(func() { h.up.reject = false })
		h.ask(dev, message.TwinReported, `{"good":1}`)
		if fmt.Sprint(h.up.patches) != `[{"good":1}]` {
			t.Errorf("a rejected patch blocks the queue: %q", h.up.patches)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.up.set(func() { h.up.err = twin.ErrOffline })
		refused := 0
		for range 3 * maxQueue { // a null and then an object: no single patch can say both
			for _, body := range []string{`{"a":null}`, `{"a":{"x":1}}`} {
				if h.ask(dev, message.TwinReported, body) == int(message.QuotaExceeded) {
					refused++
				}
			}
		}
		if n := h.s.Status(t.Context()); len(n) != 1 || n[0].Queued != maxQueue || refused == 0 {
			t.Errorf("%+v, %d refused", n, refused)
		}
		if got := h.took(); !strings.HasPrefix(got[len(got)-1], "$iothub/twin/res/429/") {
			t.Error(got[len(got)-1])
		}
		h.up.set(func() { h.up.err = nil })
		h.s.Recheck("d1")
		if code := h.ask(dev, message.TwinReported, `{"b":1}`); code != 0 {
			t.Errorf("after upstream came back: %#x", code)
		}
		h.ask(dev, message.TwinReported, `{"big":"`+strings.Repeat("x", 4000)+`"}`)
		h.took()
		for i := range 9 {
			h.ask(dev, message.TwinReported, fmt.Sprintf(`{"big%d":%q}`, i, strings.Repeat("x", 4000)))
		}
		if got := h.took(); !strings.HasPrefix(got[len(got)-1], "$iothub/twin/res/400/") {
			t.Errorf("more than the hub takes: %s", got[len(got)-1])
		}
	})
}

// What docs/spec/semantics.md 5 and the smoke test's assert 6 ask for, through both doors.
func TestRefusedDeploymentIsNeverSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.ask(dev, message.TwinGet, "")
		h.took()
		h.rights.deny(update.Create, true)
		patch := `{"deviceUpdate":{"__t":"c","service":` + service("w1", "1.1") + `},"$version":4}`
		h.up.set(func() {
			h.up.desired = `{"interval":5,` + patch[1:]
		})
		h.s.DesiredPatch("d1", []byte(patch))
		for _, m := range h.took() {
			t.Errorf("the device got %s", m)
		}
		if n := len(h.up.patches); n != 1 || !strings.Contains(h.up.patches[0], `"state":255`) || !strings.Contains(h.up.patches[0], "E6A70001") {
			t.Errorf("upstream got %q", h.up.patches)
		}
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); strings.Contains(got, "w1") || strings.Contains(got, "updateManifestSignature") {
			t.Errorf("the twin shows it: %s", got)
		}
		h.ask(dev, message.TwinReported, `{"deviceUpdate":{"agent":{"state":0}}}`)
		h.took()
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); strings.Contains(got, "w1") || !strings.Contains(got, `"deviceUpdate":{"agent":{"state":0}}`) {
			t.Errorf("the device does not see its own report, or sees ours: %s", got)
		}
		// Rights return: it appears without a new patch.
		h.rights.deny(update.Create, false)
		if err := h.guard.Reauthorize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/PATCH/properties/desired/?$version=4 ") ||
			!strings.Contains(got, `"id":"w1"`) || !strings.Contains(got, `"$version":4}`) {
			t.Errorf("%s", got)
		}
		// A cancel that nobody may make stays away, whichever way the twin is read.
		h.rights.deny(update.CancelReleased, true)
		h.s.DesiredPatch("d1", []byte(`{"deviceUpdate":{"__t":"c","service":{"workflow":{"action":255,"id":"nodeployment"},`+
			`"updateManifest":null,"updateManifestSignature":null,"fileUrls":null}},"interval":6,"$version":5}`))
		if got := h.one(); got != `$iothub/twin/PATCH/properties/desired/?$version=5 {"interval":6,"$version":5}` {
			t.Error(got)
		}
		h.rights.deny(update.CancelReleased, false)
		h.s.Recheck("d1")
		got := h.one()
		for _, want := range []string{`"action":255`, `"updateManifest":null`, `"fileUrls":null`} {
			if !strings.Contains(got, want) {
				t.Errorf("%s lacks %s", got, want)
			}
		}
	})
}

func TestVersions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.ask(dev, message.TwinGet, "")
		h.took()
		h.s.DesiredPatch("d1", []byte(`{"interval":5,"$version":3}`))
		if got := h.took(); len(got) != 0 {
			t.Errorf("a patch that was seen: %q", got)
		}
		h.up.set(func() { h.up.desired = `{"interval":9,"$version":2}` })
		h.s.DesiredPatch("d1", []byte(`{"x":1,"$version":1}`)) // lower: the twin was made anew
		if got := h.one(); got != `$iothub/twin/PATCH/properties/desired/?$version=2 {"interval":9,"$version":2}` {
			t.Error(got)
		}
		h.up.set(func() { h.up.desired = `{"interval":10,"y":1,"$version":6}` })
		h.s.DesiredPatch("d1", []byte(`{"y":1,"$version":6}`)) // a gap: something was missed
		if got := h.one(); got != `$iothub/twin/PATCH/properties/desired/?$version=6 {"interval":10,"y":1,"$version":6}` {
			t.Error(got)
		}
		h.s.DesiredPatch("d1", []byte(`{"y":1,"y":2,"$version":7}`))
		if got := h.took(); len(got) != 0 {
			t.Errorf("a malformed patch: %q", got)
		}
		h.setHere(false)
		h.s.DesiredPatch("d1", []byte(`{"y":2,"$version":7}`))
		h.took()
		h.setHere(true)
		h.s.Recheck("d1")
		if got := h.one(); !strings.Contains(got, `{"y":2,"$version":7}`) {
			t.Errorf("what was missed: %s", got)
		}
	})
}

// Strict JSON is part of the guard (docs/spec/semantics.md 5.3): what breaks it is refused
// like anything else, the last good state stays, and the audit says so.
func TestUnreadableDesiredStateIsAudited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.ask(dev, message.TwinGet, "")
		h.took()
		h.s.DesiredPatch("d1", []byte(`{"deviceUpdate":{"service":{"workflow":{"action":255,"action":3}}},"$version":4}`))
		h.s.Twin("d1", []byte(`{"desired":{"a":1,"a":2,"$version":5},"reported":{"$version":1}}`))
		h.up.set(func() { h.up.desired = `{"a":"\u0000","$version":6}` })
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.Contains(got, `"interval":5`) {
			t.Errorf("not the last good state: %s", got)
		}
		if got := fmt.Sprint(h.said); got != "[d1 malformed-desired d1 malformed-desired d1 malformed-desired]" {
			t.Errorf("audited %s", got)
		}
	})
}

func TestWithheldReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.rights.deny(update.Get, true)
		h.ask(dev, message.TwinReported, `{"deviceUpdate":{"agent":{"state":6}},"temp":1}`)
		if fmt.Sprint(h.up.patches) != `[{"temp":1}]` {
			t.Errorf("upstream got %q", h.up.patches)
		}
		h.up.set(func() { h.up.err = twin.ErrOffline })
		h.rights.deny(update.Get, false)
		h.ask(dev, message.TwinReported, `{"deviceUpdate":{"agent":{"state":0}}}`)
		h.up.set(func() { h.up.err = nil })
		h.s.Recheck("d1")
		synctest.Wait()
		if got := string(h.up.reported.Bytes()); got != `{"temp":1,"deviceUpdate":{"agent":{"state":0}}}` {
			t.Errorf("the older report won: %s after %q", got, h.up.patches)
		}
	})
}

func TestMethods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.setHere(false)
		began := time.Now()
		if status, _ := h.s.Method(t.Context(), "d1", "reboot", nil); status != 504 || time.Since(began) != 0 {
			t.Errorf("status %d after %s", status, time.Since(began))
		}
		h.setHere(true)
		type answer struct {
			status int
			body   string
		}
		got := make(chan answer, 1)
		go func() {
			status, body := h.s.Method(t.Context(), "d1", "reboot", []byte(`1`))
			got <- answer{status, string(body)}
		}()
		topic, _, _ := strings.Cut(h.one(), " ")
		rid, ok := strings.CutPrefix(topic, "$iothub/methods/POST/reboot/?$rid=")
		if !ok {
			t.Fatal(topic)
		}
		respond := func(p *principal.Principal, body string) {
			h.s.Handle(p, "", &message.Message{Payload: []byte(body),
				Via: message.Route{Handling: message.MethodResponse, Request: rid, Status: 200}}, func(byte) {})
		}
		respond(&principal.Principal{Kind: principal.Device, DeviceID: "d2"}, "forged")
		synctest.Wait()
		select {
		case a := <-got:
			t.Fatalf("another device's answer is taken: %+v", a)
		default:
		}
		respond(dev, "ok")
		respond(dev, "again")
		if a := <-got; a != (answer{200, "ok"}) {
			t.Errorf("%+v", a)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if status, _ := h.s.Method(ctx, "d1", "reboot", nil); status != 504 {
			t.Errorf("no answer: %d", status)
		}
		if status, _ := h.s.Method(t.Context(), "d1", "a/b", nil); status != 400 {
			t.Errorf("a name with a slash: %d", status)
		}
	})
}

func TestLocalTwin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.up.set(func() { h.up.err = twin.ErrNoTwin })
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.HasSuffix(got, `{"desired":{"$version":1},"reported":{"$version":1}}`) {
			t.Error(got)
		}
		h.ask(dev, message.TwinReported, `{"a":1}`)
		h.took()
		h.restart(func(o *Options) { o.Upstream = nil })
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.HasSuffix(got, `"reported":{"a":1,"$version":2}}`) {
			t.Error(got)
		}
	})
}

// A twin that is not there for a while (its key is rolled, the device disabled) takes no
// report with it; one that never comes back does not fill the queue for ever.
func TestReportsWaitForATwinThatWasThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.ask(dev, message.TwinGet, "")
		h.up.set(func() { h.up.err = twin.ErrNoTwin })
		h.ask(dev, message.TwinGet, "") // as devices begin
		if code := h.ask(dev, message.TwinReported, `{"a":1}`); code != 0 {
			t.Fatal(code)
		}
		h.ask(dev, message.TwinGet, "")
		if got := h.took(); !strings.Contains(got[len(got)-1], `"reported":{"a":1,`) {
			t.Errorf("the device sees %q", got)
		}
		h.up.set(func() { h.up.err = nil })
		time.Sleep(2 * resendMost)
		synctest.Wait()
		if got := string(h.up.reported.Bytes()); got != `{"a":1}` {
			t.Errorf("upstream has %s", got)
		}
		h.up.set(func() { h.up.err = twin.ErrNoTwin })
		for n := range 3 * maxQueue { // none can be joined with the one before
			if code := h.ask(dev, message.TwinReported, fmt.Sprintf(`{"b":%s}`, []string{`{"c":1}`, `null`}[n%2])); code != 0 {
				t.Fatalf("%d: code %d", n, code)
			}
		}
		h.ask(dev, message.TwinGet, "")
		if got := h.took(); !strings.Contains(got[len(got)-1], `"reported":{"a":1,`) {
			t.Errorf("in the end the device sees %q", got[len(got)-1])
		}
		if s := h.s.Status(t.Context()); !s[0].Local || s[0].Queued != 0 {
			t.Errorf("in the end %+v", s)
		}
	})
}

func TestForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.ask(dev, message.TwinGet, "")
		h.up.set(func() { h.up.err = twin.ErrOffline })
		h.ask(dev, message.TwinReported, `{"a":1}`)
		h.s.Forget("d1")
		if err := h.guard.Forget(t.Context(), "d1"); err != nil {
			t.Fatal(err)
		}
		h.took()
		if len(h.store.values) != 0 || len(h.journal.values) != 0 {
			t.Errorf("left: %q %q", h.store.values, h.journal.values)
		}
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/res/503/") {
			t.Errorf("another device of the same name inherits: %s", got)
		}
	})
}

func TestLocalDeployment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		user := &principal.Principal{Kind: principal.User, Key: "user:t/o"}
		m := &message.Message{Payload: []byte(`{}`), Via: message.Route{
			Handling: message.Deployment,
			Device:   "d1",
			Name:     "create",
			Object:   "w1",
			Request:  "r9",
		}}
		h.s.Handle(user, "their-session", m, func(byte) {})
		if got := h.one(); !strings.HasPrefix(got, `their-session deviceupdate/responses/r9 {"status":503,`) ||
			!strings.Contains(got, "NoUpdateStore") {
			t.Error(got)
		}
	})
}

// A device that reported while upstream was away, and is gone when it is back,
// is heard all the same; also after a restart in between.
func TestReportsGoUpWithoutTheirDevice(t *testing.T) {
	for name, restart := range map[string]bool{"running": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := start(t, nil)
				defer func() { h.stop() }()
				h.up.set(func() { h.up.err = twin.ErrOffline })
				if code := h.ask(dev, message.TwinReported, `{"done":true}`); code != 0 {
					t.Fatalf("code %#x", code)
				}
				h.setHere(false)
				if restart {
					h.restart(nil)
				}
				time.Sleep(10 * time.Minute) // many attempts fail
				h.up.set(func() { h.up.err = nil })
				time.Sleep(resendMost + time.Second)
				h.up.set(func() {
					if len(h.up.patches) != 1 {
						t.Errorf("upstream got %q", h.up.patches)
					}
				})
			})
		})
	}
}

// Twins that are not there wait for themselves alone: they are no sign that upstream is away.
func TestTwinsThatAreNotThereHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		devices := []*principal.Principal{dev}
		h.up.set(func() { h.up.absent = map[string]bool{} })
		for n := range 50 {
			id := fmt.Sprint("away", n)
			devices = append(devices, &principal.Principal{Kind: principal.Device, Key: "device:" + id, DeviceID: id})
			h.up.set(func() { h.up.absent[id] = true })
		}
		for _, p := range devices {
			h.ask(p, message.TwinGet, "")
		}
		h.up.set(func() { h.up.err = twin.ErrOffline })
		for _, p := range devices {
			if code := h.ask(p, message.TwinReported, `{"a":1}`); code != 0 {
				t.Fatal(code)
			}
		}
		h.up.set(func() { h.up.err = nil })
		time.Sleep(resendAfter)
		synctest.Wait()
		h.up.set(func() {
			if len(h.up.patches) != 1 {
				t.Errorf("upstream got %q", h.up.patches)
			}
		})
	})
}

// A twin that was asked for before a patch came may arrive after it.
func TestALateTwinDoesNotTakeAPatchBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.s.Twin("d1", []byte(`{"desired":{"interval":5,"$version":3},"reported":{"$version":7}}`))
		h.took()
		h.up.set(func() { h.up.desired = `{"interval":9,"$version":4}` })
		h.s.DesiredPatch("d1", []byte(`{"interval":9,"$version":4}`))
		if got := h.one(); !strings.Contains(got, `"interval":9`) {
			t.Fatal(got)
		}
		h.s.Twin("d1", []byte(`{"desired":{"interval":5,"$version":3},"reported":{"$version":7}}`))
		if got := h.took(); len(got) > 0 {
			t.Errorf("the device got %q", got)
		}
	})
}
