package twins

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

var module = &principal.Principal{Kind: principal.Module, Key: "module:d1/m", DeviceID: "d1", ModuleID: "m"}

// A deleted device must not be able to leave anything to a later device of the same name: neither by
// filling the queue of its twin while it is deleted, nor in the twin of a module.
func TestForgetCannotBePrevented(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.up.set(func() {
			h.up.desired = `{"deviceUpdate":{"__t":"c","service":` + service("w1", "1.1") + `},"$version":3}`
		})
		h.ask(dev, message.TwinGet, "")
		h.ask(module, message.TwinGet, "")
		h.up.set(func() { h.up.err = twin.ErrOffline })
		h.ask(module, message.TwinReported, `{"a":1}`)
		block, release := make(chan struct{}), make(chan struct{})
		h.s.do("d1", func(context.Context, *identity) { close(block); <-release })
		<-block
		for range maxJobs {
			h.s.Handle(dev, "s", &message.Message{Publisher: dev, Via: message.Route{Handling: message.TwinGet, Request: "r"}}, func(byte) {})
		}
		if err := h.guard.Forget(t.Context(), "d1"); err != nil {
			t.Fatal(err)
		}
		h.s.Forget("d1")
		close(release)
		h.took()
		if len(h.store.values) != 0 || len(h.journal.values) != 0 {
			t.Errorf("left: %q %q", h.store.values, h.journal.values)
		}
		for _, p := range []*principal.Principal{dev, module} {
			h.ask(p, message.TwinGet, "")
		}
		if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/res/503/") {
			t.Errorf("inherited: %s", got)
		}
	})
}

// A device that fills the queue of its twin does not miss a desired patch for that.
func TestABusyDeviceMissesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := start(t, nil)
		defer func() { h.stop() }()
		h.ask(dev, message.TwinGet, "")
		block, release := make(chan struct{}), make(chan struct{})
		h.s.do("d1", func(context.Context, *identity) { close(block); <-release })
		<-block
		for range maxJobs {
			h.s.do("d1", func(context.Context, *identity) {})
		}
		h.took()
		for n, interval := range []string{"6", "7"} {
			text := `{"interval":` + interval + `,"$version":` + string(rune('4'+n)) + `}`
			h.up.set(func() { h.up.desired = text })
			h.s.DesiredPatch("d1", []byte(text))
		}
		close(release)
		if got := h.one(); got != `$iothub/twin/PATCH/properties/desired/?$version=5 {"interval":7,"$version":5}` {
			t.Error(got)
		}
		h.s.DesiredPatch("d1", []byte(`{"interval":8,"$version":6}`))
		if got := h.one(); got != `$iothub/twin/PATCH/properties/desired/?$version=6 {"interval":8,"$version":6}` {
			t.Errorf("after that: %s", got)
		}
	})
}

// The process may end between the deletion of a device and of its twin. The stored twin names its
// owner, so that a later device of the same name does not get it.
func TestARecordKnowsWhoseItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner := "first"
		mine := func(o *Options) { o.Owner = func(string) string { return owner } }
		h := start(t, mine)
		defer func() { h.stop() }()
		h.up.set(func() {
			h.up.desired = `{"deviceUpdate":{"__t":"c","service":` + service("w1", "1.1") + `},"$version":3}`
		})
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.Contains(got, "updateManifest") {
			t.Fatal(got)
		}
		h.up.set(func() { h.up.err = twin.ErrOffline })
		h.restart(mine)
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.Contains(got, "updateManifest") {
			t.Errorf("forgotten at a restart: %s", got)
		}
		h.stop()
		owner = ""
		h.stop = nil
		h.restart(mine) // the owner is not known yet, so nothing is deleted
		owner = "second"
		h.ask(dev, message.TwinGet, "")
		if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/res/503/") {
			t.Errorf("inherited: %s", got)
		}
		if len(h.journal.values) != 0 {
			t.Errorf("deployments left: %q", h.journal.values)
		}
	})
}

// If a second device of the same name appears in the registry and is removed, the first one keeps its
// twin. The twin of a module that is named itself is deleted.
func TestForgetSparesWhoHasTheName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		owner := "first"
		h := start(t, func(o *Options) { o.Owner = func(string) string { return owner } })
		defer func() { h.stop() }()
		h.up.set(func() { h.up.err = twin.ErrOffline })
		for _, p := range []*principal.Principal{dev, module} {
			if code := h.ask(p, message.TwinReported, `{"a":1}`); code != 0 {
				t.Fatalf("%s: code %d", p.Key, code)
			}
		}
		h.took()
		h.s.Forget("d1")
		h.took()
		if len(h.store.values) != 2 {
			t.Errorf("%d records left, want both: they are its own", len(h.store.values))
		}
		h.s.Forget("d1/m")
		h.took()
		if _, left := h.store.values["d1/m"]; left || len(h.store.values) != 1 {
			t.Errorf("left: %q", h.store.values)
		}
		owner = "" // deleted
		h.s.Forget("d1")
		h.took()
		if len(h.store.values) != 0 {
			t.Errorf("left: %q", h.store.values)
		}
	})
}
