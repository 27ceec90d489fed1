package device

import (
	"slices"
	"testing"

	"github.com/gatehouse/gatehouse/device/space"
)

func TestGone(t *testing.T) {
	mod := func(ids ...string) func(*Device) {
		return func(d *Device) {
			for _, m := range ids {
				d.Modules = append(d.Modules, Module{ID: m})
			}
		}
	}
	for _, c := range []struct {
		name   string
		before []Device
		change Changes
		want   []Departed
	}{
		{"nothing", []Device{dev(1, "a")}, Changes{}, nil},
		{"disabled", []Device{dev(1, "a")}, Changes{PutDevices: []Device{dev(1, "a", status(Disabled))}}, nil},
		{"deleted", []Device{dev(1, "a"), dev(2, "b")}, Changes{RemoveDevices: []space.ID{id(1)}}, []Departed{{"a", id(1)}}},
		{"renamed", []Device{dev(1, "a")}, Changes{PutDevices: []Device{dev(1, "c")}}, []Departed{{"a", id(1)}}},
		{
			"names exchanged", []Device{dev(1, "a"), dev(2, "b")},
			Changes{PutDevices: []Device{dev(1, "b"), dev(2, "a")}}, []Departed{{"a", id(1)}, {"b", id(2)}},
		},
		{
			"made again", []Device{dev(1, "a")},
			Changes{RemoveDevices: []space.ID{id(1)}, PutDevices: []Device{dev(3, "a")}}, []Departed{{"a", id(1)}},
		},
		{"collides", []Device{dev(1, "a")}, Changes{PutDevices: []Device{dev(2, "a")}}, nil},
		{
			"the first of a collision deleted", []Device{dev(1, "a"), dev(2, "a")},
			Changes{RemoveDevices: []space.ID{id(1)}}, []Departed{{"a", id(1)}},
		},
		{
			"module removed", []Device{dev(1, "a", mod("m", "n"))},
			Changes{PutDevices: []Device{dev(1, "a", mod("n"))}}, []Departed{{"a/m", id(1)}},
		},
		{
			"device with modules deleted", []Device{dev(1, "a", mod("m"))}, Changes{RemoveDevices: []space.ID{id(1)}},
			[]Departed{{"a", id(1)}},
		},
	} {
		before, _ := build(t, Data{Devices: c.before}, 1)
		after, _ := before.Apply(c.change)
		if got := Gone(before, after); !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
		if got := Gone(after, after); got != nil {
			t.Errorf("%s: %v from the same", c.name, got)
		}
	}
}
