package principal_test

import (
	"testing"

	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// Who is gone with a record: the device and its modules, connected or not, and
// nobody who has a part of its name or its name without its record.
func TestOfRecord(t *testing.T) {
	one, two := space.ID{1}, space.ID{2}
	p := func(k principal.Kind, d, m string, n space.ID) *principal.Principal {
		return &principal.Principal{Kind: k, DeviceID: d, ModuleID: m, Node: n}
	}
	for _, c := range []struct {
		name string
		who  *principal.Principal
		want bool
	}{
		{"d1", p(principal.Device, "d1", "", one), true},
		{"d1", p(principal.Module, "d1", "m", one), true},
		{"d1", p(principal.Device, "d1", "", two), false},
		{"d1", p(principal.Module, "d1", "m", two), false},
		{"d1", p(principal.Device, "d10", "", one), false},
		{"d1", p(principal.User, "d1", "", one), false},
		{"d1/m", p(principal.Module, "d1", "m", one), true},
		{"d1/m", p(principal.Module, "d1", "m2", one), false},
		{"d1/m", p(principal.Device, "d1", "", one), false},
	} {
		if got := c.who.OfRecord(c.name, one); got != c.want {
			t.Errorf("%s: %+v: %v", c.name, c.who, got)
		}
	}
}
