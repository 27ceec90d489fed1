package device

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"

	"github.com/gatehouse/gatehouse/device/space"
)

// If thousands of records have something in common (no hub device id, one gateway, one
// device with many sensors), the cost grows with their number and not with its square.
func TestCrowds(t *testing.T) {
	for name, build := range map[string]func(d *Data, n int){
		"no hub id":   func(d *Data, n int) { d.Devices[n].HubID = "" },
		"one hub id":  func(d *Data, n int) { d.Devices[n].HubID = "same" },
		"one gateway": func(d *Data, n int) { d.Devices[n].GatewayID = "d0" },
		"one device": func(d *Data, n int) {
			s := Sensor{Device: d.Devices[0].ID, HardwareID: fmt.Sprint("s", n)}
			binary.BigEndian.PutUint64(s.ID[8:], uint64(n+1))
			d.Sensors = append(d.Sensors, s)
		},
	} {
		cost := func(count int) uint64 {
			var d Data
			for n := range count {
				v := Device{HubID: fmt.Sprint("d", n), Status: Active}
				binary.BigEndian.PutUint64(v.ID[8:], uint64(n+1))
				d.Devices = append(d.Devices, v)
				build(&d, n)
			}
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			top, _ := NewTopology(d, Options{})
			again, _ := top.Apply(Changes{PutDevices: d.Devices, PutSensors: d.Sensors})
			runtime.ReadMemStats(&after)
			if got, want := len(again.Problems()), len(top.Problems()); got != want {
				t.Errorf("%s: %d problems, and %d when all is put again", name, want, got)
			}
			return after.TotalAlloc - before.TotalAlloc
		}
		if once, twice := cost(1000), cost(2000); twice > 3*once {
			t.Errorf("%s: %d bytes for 1000, %d for 2000", name, once, twice)
		}
	}
}

// The lists of a topology stay as they are when the next one is derived.
func TestCrowdsAreNotShared(t *testing.T) {
	var d Data
	for n := range 40 {
		d.Devices = append(d.Devices, Device{ID: space.ID{15: byte(n + 1)}, HubID: fmt.Sprint("d", n), GatewayID: "d0", Status: Active})
	}
	top, _ := NewTopology(d, Options{})
	var remove []space.ID
	for n := 1; n < 40; n += 2 {
		remove = append(remove, d.Devices[n].ID)
	}
	next, _ := top.Apply(Changes{RemoveDevices: remove})
	if ids, _ := next.named.get(claim{nameText, "d0"}); len(ids) != 20 {
		t.Errorf("%d name the gateway, want 20", len(ids))
	}
	ids, _ := top.named.get(claim{nameText, "d0"})
	for n, id := range ids {
		if id != d.Devices[n].ID {
			t.Fatalf("in the topology that was, %v names the gateway at %d", id, n)
		}
	}
	if len(ids) != 40 {
		t.Errorf("%d named the gateway, want 40", len(ids))
	}
}
