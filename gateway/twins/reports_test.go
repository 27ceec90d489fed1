package twins

import (
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
		for range 3 * maxQueue { // a null and then an object, which cannot be joined into one patch
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

// A number that is no float64 becomes infinity, the largest number or an error, depending on who
// parses the twin. Its patch is refused and changes nothing.
func TestNumbersBeyondADouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		for body, want := range map[string]string{
			`{"a":1e999999}`:         "$iothub/twin/res/400/",
			`{"a":{"b":[-1e309]}}`:   "$iothub/twin/res/400/",
			`{"a":1.7976931348e308}`: "$iothub/twin/res/204/",
		} {
			h.took()
			h.ask(dev, message.TwinReported, body)
			if got := h.took(); len(got) == 0 || !strings.HasPrefix(got[0], want) {
				t.Errorf("%s: %q, want %s", body, got, want)
			}
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

// If a twin does not exist upstream for a while (the device's key is being rolled, or the device is
// disabled), its reports wait. If it never comes back, the full queue is merged into a local twin.
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
		for n := range 3 * maxQueue { // no patch can be joined with the one before
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

// Reports that a device made while upstream could not be reached are sent once it can be reached, even
// if the device is gone by then or the gateway was restarted.
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

// A twin that does not exist upstream is no sign that upstream cannot be reached, so it does not keep
// the reports of other devices from being sent.
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
