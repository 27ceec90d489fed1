package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

var errOffline = errors.New("no route to host")

func TestGetShowsTheRecordAndNoCredential(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		h.set(func() { h.unread["T2"] = true })
		if code := h.ask(userP, "get", "d1", "", "r1", ""); code != message.Success {
			t.Errorf("code %#x", code)
		}
		path := space.Root.Join(num(1)).Join(num(2)).String()
		h.want(h.took(), "session:user:a/b registry/responses/r1 "+fmt.Sprintf(
			`{"status":200,"body":{"id":%q,"name":"Thermostat","hardwareId":"HW-1","gatewayId":%q,"spaceId":%q,"status":"Active","deviceId":"d1",`+
				`"spacePaths":[%q],`+
				`"modules":[{"moduleId":"m1"}],"sensors":[{"id":%q,"deviceId":%q,"spaceId":%q,"hardwareId":"T1","spacePaths":[%q]}]}}`,
			num(11), num(10), num(2), path, num(20), num(11), num(2), path))
		h.ask(userP, "get", "nobody", "", "r2", "")
		if got := h.took(); len(got) != 1 || !strings.Contains(got[0], `"status":404`) {
			t.Error(got)
		}
		// A request without a request id gets no answer.
		h.ask(userP, "get", "d1", "", "", "")
		h.want(h.took())
	})
}

// A credential must not appear even if the shape of records grows: every
// secret of the record is searched for in every answer.
func TestNoSecretLeaves(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		h.ask(gatewayP, "get", "d1", "", "r1", "")
		all := strings.Join(h.took(), "")
		for _, secret := range []string{"secret", "redacted", "auth", "Thumbprint", "0102"} {
			if all == "" || strings.Contains(all, secret) {
				t.Errorf("%q in %s", secret, all)
			}
		}
	})
}

func TestManySensorsAreCut(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		d := records()
		for i := range maxSensors + 5 {
			d.Sensors = append(d.Sensors, device.Sensor{ID: num(1000 + i), Device: num(11), Space: num(2), HardwareID: fmt.Sprint("S", i)})
		}
		h.setTopology(d)
		h.ask(gatewayP, "get", "d1", "", "r1", "")
		var a struct{ Body deviceView }
		got := h.took()
		if len(got) != 1 {
			t.Fatal(got)
		}
		if err := json.Unmarshal([]byte(strings.SplitN(got[0], " ", 3)[2]), &a); err != nil || len(a.Body.Sensors) != maxSensors ||
			!a.Body.Truncated {
			t.Error(len(a.Body.Sensors), a.Body.Truncated, err)
		}
	})
}

func TestCreateOnline(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		if code := h.create("N1", "r1"); code != message.Success {
			t.Errorf("code %#x", code)
		}
		h.want(h.took(), to("r1", 201, done("N1")))
		h.create("N1", "r2") // again: the cloud already has this sensor
		h.want(h.took(), to("r2", 200, done("N1")))
		h.create("T1", "r3") // the registry has this sensor, so the cloud is not asked
		h.want(h.took(), to("r3", 200, fmt.Sprintf(`{"id":%q,"hardwareId":"T1"}`, num(20))))
		if got := h.cloud.log(); got != "N1 N1" {
			t.Error(got)
		}
		if h.store.len() != 0 || h.s.Waiting() != 0 {
			t.Error("something stays in the queue")
		}
		if !strings.Contains(h.records(), "device:gw registry/devices/d1/sensors/N1/create true created") {
			t.Error(h.records())
		}
	})
}

// Nothing in a request may choose where the sensor goes, because the create is sent with the
// gateway's own rights, which reach further than the requester's.
func TestThePlaceIsTheOneThatWasDecided(t *testing.T) {
	in(t, func(t *testing.T) {
		var got []Sensor
		h := start(t, nil)
		h.restart(func(o *Options) { o.Creator = spy{h.cloud, &got} })
		defer h.stop()
		for _, payload := range []string{`{"spaceId":"` + num(1).String() + `"}`, `{"deviceId":"` + num(12).String() + `"}`,
			`{"hardwareId":"X"}`, `{"id":"x"}`} {
			if code := h.ask(gatewayP, "create", "d1", "N1", "r1", payload); code != message.PayloadFormatInvalid {
				t.Errorf("%s: code %#x", payload, code)
			}
		}
		h.create("N1", "")
		if len(got) != 1 || got[0].Device != num(11) || got[0].Space != num(2) || got[0].HardwareID != "N1" || got[0].Type != "Temperature" {
			t.Errorf("%+v", got)
		}
	})
}

// A create of a hardware id that a sensor of another device has is refused,
// and does not say which sensor that is.
func TestHardwareIDIsTakenOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		h.ask(gatewayP, "create", "d2", "T1", "r1", "")
		h.cloud.set(func() { h.cloud.made["N9"] = num(12) })
		h.create("N9", "r2")
		for _, a := range h.took() {
			if !strings.Contains(a, `"status":409`) || strings.Contains(a, num(20).String()) {
				t.Error(a)
			}
		}
		if n := strings.Count(h.records(), "false hardware-id-taken"); n != 2 {
			t.Error(h.records())
		}
	})
}

func TestQueueSurvivesOutageAndRestart(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		h.cloud.set(func() { h.cloud.err = errOffline })
		for i := range 12 { // past ten: the order of numbers, not of their decimal texts
			if code := h.create(fmt.Sprintf("N%02d", i), fmt.Sprintf("r%d", i)); code != message.Success {
				t.Errorf("code %#x", code)
			}
		}
		for i, a := range h.took() {
			if a != to(fmt.Sprintf("r%d", i), 202, queued) {
				t.Error(a)
			}
		}
		if h.store.len() != 12 {
			t.Errorf("%d records are durable", h.store.len())
		}
		h.restart(nil)
		defer h.stop()
		synctest.Wait()
		h.want(h.took()) // that the create waits was answered before
		h.cloud.set(func() { h.cloud.err, h.cloud.asked = nil, nil })
		time.Sleep(2 * time.Minute)
		got := h.took()
		for i := range 12 {
			if i >= len(got) || got[i] != to(fmt.Sprintf("r%d", i), 201, done(fmt.Sprintf("N%02d", i))) {
				t.Fatal(got)
			}
		}
		if got := h.cloud.log(); got != "N00 N01 N02 N03 N04 N05 N06 N07 N08 N09 N10 N11" {
			t.Error(got)
		}
		if h.store.len() != 0 {
			t.Error("records stay")
		}
	})
}

// While the cloud does not answer, only the first create is tried, and ever more rarely.
func TestBackoff(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		h.cloud.set(func() { h.cloud.err = errOffline })
		for i := range 5 {
			h.create(fmt.Sprint("N", i), "")
		}
		h.ask(gatewayP, "create", "d2", "Q", "", "") // a create of another device is not tried either
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		n := len(strings.Fields(h.cloud.log()))
		if n < 15 || n > 30 || strings.ContainsAny(h.cloud.log(), "1Q") {
			t.Errorf("%d attempts: %s", n, h.cloud.log())
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.report != "6 no route to host" {
			t.Error(h.report)
		}
	})
}

// A create to which the cloud answers with a server error holds up the creates of its own device, and
// of no other.
func TestPoisonHoldsUpItsDeviceOnly(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		h.cloud.set(func() { h.cloud.bad["P1"] = true })
		h.create("P1", "r1")
		h.create("P2", "r2")
		h.ask(gatewayP, "create", "d2", "Q1", "r3", "")
		time.Sleep(time.Minute)
		h.want(h.took(), to("r1", 202, queued), to("r2", 202, queued), to("r3", 202, queued), to("r3", 201, done("Q1")))
		if strings.Contains(h.cloud.log(), "P2") {
			t.Error("sent out of order:", h.cloud.log())
		}
	})
}

// The right is decided again just before a create is sent.
func TestLostRightDropsTheCreate(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		h.cloud.set(func() { h.cloud.err = errOffline })
		h.create("N1", "r1")
		h.took()
		h.set(func() { h.may[gatewayP.Key] = Decision{Reason: "no-assignment"} })
		h.cloud.set(func() { h.cloud.err, h.cloud.asked = nil, nil })
		h.restart(nil) // also after a restart, with the identities that were stored
		defer h.stop()
		got := h.took()
		if len(got) != 1 || !strings.HasPrefix(got[0], "session:device:gw registry/responses/r1 {\"status\":403") {
			t.Error(got)
		}
		if h.cloud.log() != "" || h.store.len() != 0 {
			t.Error("sent, or kept:", h.cloud.log(), h.store.len())
		}
		if !strings.Contains(h.records(), "device:gw registry/devices/d1/sensors/N1/create false no-assignment") {
			t.Error(h.records())
		}
	})
}

// A create whose principal lost the right and got it back is sent. One that cannot be decided waits.
func TestHeldIsNotDropped(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		h.set(func() { h.may["d1"] = Decision{Hold: true, Reason: "stage-restricted"} })
		h.create("N1", "r1")
		h.ask(gatewayP, "create", "d2", "N2", "r2", "")
		time.Sleep(time.Hour)
		h.want(h.took(), to("r1", 202, queued), to("r2", 202, queued), to("r2", 201, done("N2")))
		h.set(func() { delete(h.may, "d1") })
		time.Sleep(time.Minute)
		h.want(h.took(), to("r1", 201, done("N1")))
	})
}

// A device that was deleted and created again under the same name is another device, for which the
// create was not decided, so it is dropped.
func TestReplacedDevice(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		h.cloud.set(func() { h.cloud.err = errOffline })
		h.create("N1", "r1")
		d := records()
		d.Devices[1].ID, d.Sensors = num(99), nil
		h.setTopology(d)
		h.took()
		h.cloud.set(func() { h.cloud.err, h.cloud.asked = nil, nil })
		time.Sleep(time.Minute)
		if got := h.took(); len(got) != 1 || !strings.Contains(got[0], `"status":404`) || h.cloud.log() != "" {
			t.Error(got, h.cloud.log())
		}
	})
}

func TestFinalRefusalsOfTheCloud(t *testing.T) {
	for _, status := range []int{400, 403, 404} {
		in(t, func(t *testing.T) {
			h := start(t, nil)
			defer h.stop()
			h.cloud.set(func() { h.cloud.status = status })
			h.create("N1", "r1")
			if got := h.took(); len(got) != 1 || !strings.Contains(got[0], fmt.Sprintf(`"status":%d`, status)) {
				t.Error(got)
			}
			if h.store.len() != 0 || !strings.Contains(h.records(), "false refused-by-cloud") {
				t.Error(h.store.len(), h.records())
			}
		})
	}
}

func TestBounds(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		h.restart(func(o *Options) { o.MaxQueued, o.MaxPerPrincipal = 3, 2 })
		defer h.stop()
		h.cloud.set(func() { h.cloud.err = errOffline })
		codes := []byte{h.create("N1", "r1"), h.create("N2", "r2"), h.create("N3", "r3"),
			h.ask(userP, "create", "d1", "N4", "", ""), h.ask(userP, "create", "d1", "N5", "", "")}
		if fmt.Sprintf("%x", codes) != "0000970097" {
			t.Errorf("%x: one principal, then all", codes)
		}
		if got := h.took(); len(got) != 3 || !strings.Contains(got[2], `"status":429`) {
			t.Error(got)
		}
		// A request equal to one that waits needs no capacity of its own, and both get an answer.
		if code := h.create("N2", "r4"); code != message.Success || h.store.len() != 3 {
			t.Errorf("code %#x, %d records", code, h.store.len())
		}
		h.took()
		h.cloud.set(func() { h.cloud.err = nil })
		time.Sleep(time.Minute)
		h.want(h.took(), to("r1", 201, done("N1")), to("r2", 201, done("N2")), to("r4", 201, done("N2")))
		// The capacity is given back.
		if h.create("N6", "") != message.Success || h.create("N7", "") != message.Success {
			t.Error("the bounds are not given back")
		}
	})
}

// A create that could not be stored is not acknowledged with success.
func TestNotStored(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		h.store.mu.Lock()
		h.store.broken = true
		h.store.mu.Unlock()
		if code := h.create("N1", "r1"); code != message.UnspecifiedError {
			t.Errorf("code %#x", code)
		}
		if got := h.took(); len(got) != 1 || !strings.Contains(got[0], `"status":500`) || h.cloud.log() != "" {
			t.Error(got, h.cloud.log())
		}
		if h.s.all != 0 {
			t.Error("the capacity is not given back")
		}
	})
}

func TestWithoutManagementAPI(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		h.restart(func(o *Options) { o.Creator = nil })
		defer h.stop()
		if code := h.create("N1", "r1"); code != message.ImplementationSpecificError || h.store.len() != 0 {
			t.Errorf("code %#x", code)
		}
	})
}

func TestUnreadableRecordsAreLeftOut(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		good := queuedCreate{Device: "d1", Node: num(11), HardwareID: "N1", Who: whoIs(gatewayP)}
		h.store.values[keyOf(3)] = mustJSON(t, good)
		h.store.values["3"] = mustJSON(t, good) // another text for the number of a stored create
		h.store.values[keyOf(4)] = []byte(`{"device":"d1"}`)
		h.store.values[keyOf(5)] = []byte(`{`)
		h.restart(nil)
		defer h.stop()
		synctest.Wait()
		if h.cloud.log() != "N1" || h.store.len() != 0 {
			t.Error(h.cloud.log(), h.store.len())
		}
	})
}

func TestOthersAreLeftAlone(t *testing.T) {
	in(t, func(t *testing.T) {
		h := start(t, nil)
		defer h.stop()
		m := &message.Message{Via: message.Route{Handling: message.TwinGet}}
		if h.s.Handle(gatewayP, "s", m, func(byte) { t.Error("done") }) {
			t.Error("took a twin request")
		}
	})
}

func TestOptions(t *testing.T) {
	if _, err := New(Options{Self: &principal.Principal{}}); !errors.Is(err, ErrOptions) {
		t.Error(err)
	}
}
