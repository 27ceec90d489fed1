package twins

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/gatehouse/gatehouse/device/update"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// A deployment that is refused is never seen by the device, neither as a desired patch nor in a twin
// GET (docs/spec/semantics.md 5, and assert 6 of the smoke test).
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
		// When the right returns, the device gets the deployment without a new patch from upstream.
		h.rights.deny(update.Create, false)
		if err := h.guard.Reauthorize(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := h.one(); !strings.HasPrefix(got, "$iothub/twin/PATCH/properties/desired/?$version=4 ") ||
			!strings.Contains(got, `"id":"w1"`) || !strings.Contains(got, `"$version":4}`) {
			t.Errorf("%s", got)
		}
		// A cancel that the service may not make does not reach the device.
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
