package twins

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/gateway/message"
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
		h.s.DesiredPatch("d1", []byte(`{"x":1,"$version":1}`)) // a lower version: the twin was deleted and made again
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

// Desired properties that are not strict JSON are refused (docs/spec/semantics.md 5.3), because the
// guard could read them otherwise than the device. The last good state stays, and the refusal is
// audited.
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

// The answer to a twin GET that was sent before a patch came may arrive after the patch, and must not
// undo it.
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
