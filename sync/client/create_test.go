package client

import (
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/sync/management"
)

// On the real server a sensor is created once, however often CreateSensor is called.
func TestCreateSensor(t *testing.T) {
	s := cloud(t)
	c := connect(t, serve(t, s))
	n := NewSensor{DeviceID: num(1000), SpaceID: num(2), HardwareID: "new-1", Type: "Temperature", Port: "AI-1", PollRate: 60}
	if id, status, err := c.CreateSensor(t.Context(), n); err != nil || status != http.StatusForbidden || !id.IsZero() {
		t.Errorf("without the right: %v %d %v", id, status, err)
	}
	if err := s.Import(management.Content{
		Assignments: []model.Assignment{{ID: num(58), Role: space.MustID(model.GatewayDeviceRole), Who: me, Path: site}},
	}); err != nil {
		t.Fatal(err)
	}
	before, err := c.Full(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	id, status, err := c.CreateSensor(t.Context(), n)
	if err != nil || status != http.StatusCreated || id.IsZero() {
		t.Fatal(id, status, err)
	}
	n.HardwareID = "NEW-1" // the server compares without regard to case
	again, status, err := c.CreateSensor(t.Context(), n)
	if err != nil || status != http.StatusOK || again != id {
		t.Errorf("again: %v %d %v", again, status, err)
	}
	listed := NewSensor{DeviceID: num(1000), HardwareID: "a,b;c"}
	first, status, err := c.CreateSensor(t.Context(), listed)
	if err != nil || status != http.StatusCreated {
		t.Fatal(first, status, err)
	}
	if again, status, err := c.CreateSensor(t.Context(), listed); err != nil || status != http.StatusOK || again != first {
		t.Errorf("an id that looks like a list: %v %d %v", again, status, err)
	}
	n.DeviceID = num(1002)
	if id, status, err := c.CreateSensor(t.Context(), n); err != nil || status != http.StatusConflict || !id.IsZero() {
		t.Errorf("another device's: %v %d %v", id, status, err)
	}
	id, status, err = c.CreateSensor(t.Context(), NewSensor{DeviceID: num(4711), HardwareID: "x"})
	if err != nil || status != http.StatusNotFound {
		t.Errorf("an unknown device: %v %d %v", id, status, err)
	}
	f, err := c.Full(t.Context())
	if err != nil || len(f.Data.Sensors) != len(before.Data.Sensors)+2 {
		t.Errorf("%d sensors, %v", len(f.Data.Sensors), err)
	}
}

func TestCreateSensorAnswers(t *testing.T) {
	for name, k := range map[string]struct {
		status int
		body   string
		want   int
		err    error
		any    bool
	}{
		"throttled":    {status: 429, want: 429, err: ErrThrottled},
		"unavailable":  {status: 503, want: 503, err: ErrThrottled},
		"unauthorised": {status: 401, want: 401, err: ErrUnauthorized},
		"server error": {status: 500, want: 500, any: true},
		"redirect":     {status: 307, want: 307, any: true},
		"no id":        {status: 201, body: `"x"`, want: 201, err: ErrMalformed},
		"no JSON":      {status: 201, body: `<html>`, want: 201, err: ErrMalformed},
		"forbidden":    {status: 403, want: 403},
	} {
		c := connect(t, serve(t, answering(k.status, map[string]string{"Location": "https://elsewhere.example/"}, k.body)))
		_, status, err := c.CreateSensor(t.Context(), NewSensor{DeviceID: num(1), HardwareID: "h"})
		if status != k.want || (k.err != nil && !errors.Is(err, k.err)) || (k.any && err == nil) || (k.err == nil && !k.any && err != nil) {
			t.Errorf("%s: %d, %v", name, status, err)
		}
	}
}

// An answer that is about another sensor than the one requested, or that cannot be used, must not
// count as a success.
func TestRefusedSensorIsLookedFor(t *testing.T) {
	floor := num(2).String()
	for list, want := range map[string]int{
		`[]`: 400,
		`[{"id":"` + num(5).String() + `","hardwareId":"other","deviceId":"` + num(1).String() + `","spaceId":"` + floor + `"}]`: 400,
		`[{"id":"` + num(5).String() + `","hardwareId":"h","deviceId":"` + num(9).String() + `","spaceId":"` + floor + `"}]`:     409,
		`[{"id":"` + num(5).String() + `","hardwareId":"h","deviceId":"` + num(1).String() + `","spaceId":"` + floor + `"}]`:     200,
	} {
		h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost {
				_, _ = io.Copy(io.Discard, r.Body)
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			if r.URL.Query().Get("hardwareIds") != "h" {
				t.Error(r.URL)
			}
			_, _ = io.WriteString(w, list)
		})
		c := connect(t, serve(t, h))
		id, status, err := c.CreateSensor(t.Context(), NewSensor{DeviceID: num(1), HardwareID: "h"})
		if err != nil || status != want || (want == 200) != (id == num(5)) {
			t.Errorf("%s: %v %d %v", list, id, status, err)
		}
	}
}
