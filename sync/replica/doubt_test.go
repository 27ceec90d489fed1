package replica

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
)

// gapTo makes the next exchange a full read of a changed cloud.
func (g *rig) gapTo(f func(c *cloud)) {
	g.sink.seen()
	g.cloud.asked()
	g.cloud.set(func() {
		g.cloud.version.Number++
		g.cloud.gap = true
		f(g.cloud)
	})
	time.Sleep(20 * time.Second)
	synctest.Wait()
}

func TestAnEmptyAnswerDoesNotReplaceAGoodCache(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(c *cloud)
		code   Code
		taken  bool
	}{
		"rights lost":              {func(c *cloud) { c.assigns, c.rights.Assignments = 0, false }, RightsLost, false},
		"sharply smaller":          {func(c *cloud) { c.devices, c.rights.Devices = 5, false }, RightsLost, false},
		"keys gone":                {func(c *cloud) { c.devices, c.rights.Keys = 0, false }, RightsLost, false},
		"no roles":                 {func(c *cloud) { c.roles, c.rightsOK = 0, false }, Unexplained, false},
		"no denials":               {func(c *cloud) { c.denials, c.rights.Assignments = 0, false }, RightsLost, false},
		"really no denials":        {func(c *cloud) { c.denials = 0 }, InStep, true},
		"rights cannot be checked": {func(c *cloud) { c.devices, c.rightsOK = 0, false }, Unexplained, false},
		"really empty":             {func(c *cloud) { c.assigns, c.devices = 0, 0 }, InStep, true},
		"a little smaller":         {func(c *cloud) { c.devices, c.rightsOK = 15, false }, InStep, true},
		"backwards":                {func(c *cloud) { c.version.Number = 0 }, Backwards, false},
		"a new epoch":              {func(c *cloud) { c.version = model.Version{Epoch: 8, Number: 1} }, InStep, true},
		"a new epoch, in the dark": {
			func(c *cloud) { c.version, c.rightsOK = model.Version{Epoch: 8, Number: 1}, false }, Unexplained, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			in(t, func(g *rig) {
				g.gapTo(tt.change)
				if taken := g.sink.seen() != ""; taken != tt.taken {
					t.Errorf("taken: %v; asked: %s", taken, g.cloud.asked())
				}
				if got := g.r.Status().Health.Code; got != tt.code {
					t.Errorf("health %q, want %q", got, tt.code)
				}
			})
		})
	}
}

func TestASecondReadMustAgree(t *testing.T) {
	in(t, func(g *rig) {
		g.sink.seen()
		g.cloud.set(func() { g.cloud.version.Number, g.cloud.gap, g.cloud.devices = 2, true, 0 })
		synctest.Wait() // the first read is done, the second is five seconds away
		g.cloud.set(func() { g.cloud.devices = 20 })
		time.Sleep(5 * time.Second)
		synctest.Wait()
		g.expect("the good one", g.sink.seen(), "replace 2")
		if len(g.health) != 1 {
			t.Error("a bad moment is no news:", g.health)
		}
	})
}

func TestAFirstAnswerWithoutAssignments(t *testing.T) {
	in(t, func(g *rig) {
		time.Sleep(10 * time.Second)
		synctest.Wait()
		g.expect("nothing to protect, nothing to believe", g.sink.seen(), "")
		if got := g.r.Status().Health.Code; got != RightsLost {
			t.Errorf("health %q", got)
		}
	}, func(o *Options) { c := o.Source.(*cloud); c.assigns, c.rights.Assignments = 0, false })
}

// A full read that has fewer objects is not in doubt, if the feed had announced their removal.
func TestSizesFollowDeltas(t *testing.T) {
	h := Held{Assignments: 3, Devices: 12, Keys: 12}
	var d Delta
	d.Data.RemoveDevices = append(d.Data.RemoveDevices, num(1), num(2), num(3), num(4), num(5), num(6), num(7), num(8))
	d.Policy.PutAssignments = make([]model.Assignment, 5)
	d.Created.Assignments = 1
	h.follow(&d)
	if h.Devices != 4 || h.Assignments != 4 || h.Keys != 4 {
		t.Errorf("%+v", h)
	}
	f := Full{}
	f.Policy.Assignments = make([]model.Assignment, 4)
	f.Data.Devices = append(f.Data.Devices, make([]device.Device, 4)...)
	for i := range f.Data.Devices {
		f.Data.Devices[i].Auth.Primary = []byte("k")
	}
	if doubt := h.doubt(&f, false); doubt != nil {
		t.Error(doubt.why)
	}
}
