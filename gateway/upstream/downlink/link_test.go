package downlink

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

// A connected device has a session at the hub from its first connection to the end
// of its last, as long as the gateway has its key.
func TestConnectedDevicesHoldTheirHubSessions(t *testing.T) {
	keys := map[string]bool{"d1": true}
	link, err := iothub.New(iothub.Options{
		Host: "hub", Gateway: iothub.Gateway{Device: "gw", Key: []byte("key")}, Log: slog.New(slog.DiscardHandler),
		Keys: func(id string) ([]byte, bool) { return []byte("key"), keys[id] },
		Sign: func(string, string, []byte, time.Time) string { return "" },
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &Link{hub: link, here: map[string]int{}, held: map[string]func(){}}
	d1 := &principal.Principal{Kind: principal.Device, DeviceID: "d1"}
	d2 := &principal.Principal{Kind: principal.Device, DeviceID: "d2"}
	want := func(when string, one, two bool) {
		t.Helper()
		if (h.held["d1"] != nil) != one || (h.held["d2"] != nil) != two || len(h.held) > 2 {
			t.Errorf("%s: holds %v", when, h.held)
		}
	}
	h.Arrived(d1)
	h.Arrived(d2)
	h.Arrived(&principal.Principal{Kind: principal.User, Name: "olga"})
	h.Arrived(&principal.Principal{Kind: principal.Module, DeviceID: "d1", ModuleID: "m"})
	want("both are here", true, false)
	h.Arrived(d1) // takes over
	h.Left(d1)
	want("one of two connections ended", true, false)
	keys["d2"] = true
	h.RegistryChanged()
	want("the other got a key", true, true)
	keys["d1"] = false
	h.RegistryChanged()
	want("the first lost its key", false, true)
	keys["d1"] = true
	h.Left(d1)
	h.RegistryChanged()
	want("the first is gone", false, true)
	h.Left(d2)
	want("both are gone", false, false)
	if len(h.here) > 0 {
		t.Errorf("remembers %v", h.here)
	}
}

// A report that was acknowledged to the device is dropped only if the hub will never
// accept it.
func TestOnlyWhatIsWrongWithAPatchRejectsIt(t *testing.T) {
	for status, want := range map[int]error{
		400: twin.ErrRejected, 413: twin.ErrRejected,
		401: twin.ErrOffline, 403: twin.ErrOffline, 404: twin.ErrOffline, 408: twin.ErrOffline, 409: twin.ErrOffline,
		412: twin.ErrOffline, 429: twin.ErrOffline, 500: twin.ErrOffline, 503: twin.ErrOffline,
	} {
		if err := twinError(&iothub.StatusError{Status: status}); !errors.Is(err, want) {
			t.Errorf("%d: %v, want %v", status, err, want)
		}
	}
}
