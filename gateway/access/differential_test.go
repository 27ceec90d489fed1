package access

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// The oracle of containment: a world small enough that every topic which could
// ever be published in it is written down, present and future, and asked one
// by one, by rules that share no code with the map under test.

// oracle decides for one principal by rules that share no code with the map under test.
type oracle struct {
	w    *world
	p    *principal.Principal
	rows []rowText
}

func (o *oracle) may(op string, at space.Path) bool {
	parsed, err := model.ParseOperation(op)
	if err != nil {
		panic(err)
	}
	return o.w.index.Decide(&o.p.Subject, parsed, at).Allowed
}

func (o *oracle) device(hub string) (*device.Device, bool) { return o.w.topology.DeviceByHubID(hub) }

func (o *oracle) sensorPath(hardware string) space.Path {
	if s, ok := o.w.topology.SensorByHardwareID(hardware); ok {
		return o.w.topology.SensorPath(s)
	}
	return space.Root
}

func (o *oracle) devicePath(hub string) space.Path {
	if d, ok := o.device(hub); ok {
		return o.w.topology.DevicePath(d)
	}
	return space.Root
}

func (o *oracle) actsFor(hub string) bool {
	d, ok := o.device(hub)
	return ok && o.p.Kind == principal.Device && o.w.topology.ActsFor(o.p.Node, d)
}

func (o *oracle) ownDevice() bool {
	return o.p.Kind == principal.Device || o.p.Kind == principal.Module
}

// readable implements the read column of the topic map's table in the specification.
func (o *oracle) readable(name string) bool {
	l := strings.Split(name, "/")
	bagPath := func(bag, hub string) space.Path {
		for _, kv := range strings.Split(bag, "&") {
			if k, v, _ := strings.Cut(kv, "="); k == sensorKey {
				return o.sensorPath(v)
			}
		}
		return o.devicePath(hub)
	}
	switch l[0] {
	case "$SYS":
		return o.may("Read System", space.Root)
	case "$iothub":
		requests := l[1] == "twin" && (l[2] == "GET" || strings.HasPrefix(name, "$iothub/twin/PATCH/properties/reported")) ||
			l[1] == "methods" && l[2] == "res"
		return !requests && o.ownDevice() && o.may("Read Device", o.devicePath(o.p.DeviceID))
	case "registry", "deviceupdate":
		return l[1] == "responses"
	case "spaces":
		text := strings.TrimPrefix(strings.Join(l[:len(l)-3], "/"), "spaces")
		return o.may("Read Sensor", space.MustPath(text+map[bool]string{true: "/"}[text == ""]))
	case "devices":
		hub := l[1]
		bag := ""
		switch {
		case l[2] == "messages" && l[3] == "devicebound":
			return o.actsFor(hub) && o.may("Read Device", o.devicePath(hub))
		case l[2] == "messages":
			if len(l) > 4 {
				bag = l[4]
			}
			return o.actsFor(hub) && o.may("Read Sensor", bagPath(bag, hub))
		case l[4] == "messages" && l[5] == "events":
			if len(l) > 6 {
				bag = l[6]
			}
			return o.actsFor(hub) && o.may("Read Sensor", bagPath(bag, hub))
		}
		return o.p.Kind == principal.Module && hub == o.p.DeviceID && l[3] == o.p.ModuleID && o.may("Read Device", o.devicePath(hub))
	}
	_, readable := o.operator(l)
	return readable
}

// operator finds the first operator's row that takes the topic, and reports whether the topic
// can ever be published and whether the principal may read it.
func (o *oracle) operator(l []string) (possible, readable bool) {
	for _, r := range o.rows {
		pattern := strings.Split(r.Topic, "/")
		if !rowTakes(pattern, l) {
			continue
		}
		places, possible := []space.Path{}, r.Publish != nil
		for i, s := range pattern {
			switch s {
			case "{device}":
				possible = possible && device.CheckID(l[i]) == nil
				places = append(places, o.devicePath(l[i]))
			case "{sensor}":
				possible = possible && device.CheckID(l[i]) == nil
				places = append(places, o.sensorPath(l[i]))
			case "{space}":
				id, err := space.ParseID(l[i])
				possible = possible && err == nil && id.String() == l[i]
				at := space.Root
				if s, ok := o.w.topology.Space(id); ok {
					at = s.Path
				}
				places = append(places, at)
			}
		}
		if len(places) == 0 {
			places = append(places, space.MustPath(r.Scope))
		}
		if r.Subscribe == nil {
			return possible, false
		}
		held := func(op string) bool {
			for _, at := range places {
				if !o.may(op, at) {
					return false
				}
			}
			return true
		}
		any, all := false, true
		for _, op := range append(r.Subscribe.AnyOf, r.Subscribe.AllOf...) {
			any, all = any || held(op), all && held(op)
		}
		if len(r.Subscribe.AllOf) > 0 {
			return possible, all
		}
		return possible, any
	}
	return false, false
}

func rowTakes(pattern, l []string) bool {
	for i, s := range pattern {
		if s == "#" {
			return true
		}
		if i >= len(l) || s != l[i] && s != "+" && !strings.HasPrefix(s, "{") {
			return false
		}
	}
	return len(pattern) == len(l)
}

// universe returns every topic of the test world: those of the records that exist, those of one
// more record of each kind that may be added, and those of the words in extra.
func (o *oracle) universe(extra ...string) []string {
	var all []string
	names := append([]string{"unheard"}, extra...)
	devices, modules := append([]string{"dev1", "child", "gw", "future"}, extra...), append([]string{"m1", "mfuture"}, extra...)
	bags := []string{"", "/", "/x=1", "/" + sensorKey + "=temp1", "/" + sensorKey + "=far1", "/" + sensorKey + "=childtemp",
		"/" + sensorKey + "=future"}
	for _, w := range extra {
		if _, err := topic.ParseBag[message.UserProperty](nil, w); err == nil && !slices.Contains(bags, "/"+w) {
			bags = append(bags, "/"+w)
		}
	}
	for _, d := range devices {
		for _, b := range bags {
			all = append(all, "devices/"+d+"/messages/events"+b)
		}
		for _, b := range bags {
			all = append(all, "devices/"+d+"/messages/devicebound"+b)
		}
		for _, m := range modules {
			for _, b := range bags {
				if o.p.Kind != principal.Module {
					all = append(all, "devices/"+d+"/modules/"+m+"/messages/events"+b)
				}
				all = append(all, "devices/"+d+"/modules/"+m+"/messages/devicebound"+b)
				for _, n := range names {
					all = append(all, "devices/"+d+"/modules/"+m+"/inputs/"+n+b)
				}
			}
		}
		for _, q := range []string{"", "/?$rid=1"} {
			all = append(all, "registry/devices/"+d+"/get"+q, "deviceupdate/devices/"+d+"/get"+q)
			for _, n := range names {
				all = append(all, "registry/devices/"+d+"/sensors/"+n+"/create"+q, "deviceupdate/devices/"+d+"/deployments/"+n+"/create"+q)
			}
		}
	}
	for _, n := range names {
		all = append(all, "registry/responses/"+n, "deviceupdate/responses/"+n, "$SYS/"+n, "$SYS/unheard/"+n, "$SYS/"+n+"/unheard",
			"$iothub/methods/POST/"+n+"/?$rid=1")
	}
	all = append(all, "$SYS",
		"$iothub/twin/GET/?$rid=1", "$iothub/twin/PATCH/properties/reported/?$rid=1", "$iothub/methods/res/200/?$rid=1",
		"$iothub/twin/res/200/?$rid=1", "$iothub/twin/PATCH/properties/desired/?$version=1")
	ids := []space.ID{site, floor1, room1, id(0x7f)}
	var grow func(p string, depth int)
	grow = func(p string, depth int) {
		for _, d := range devices {
			all = append(all, "spaces"+p+"/devices/"+d+"/events")
		}
		if depth < 4 {
			for _, g := range ids {
				grow(p+"/"+g.String(), depth+1)
			}
		}
	}
	grow("", 0)
	return all
}

// named returns the words of a filter that could be the name of a record.
func named(filter string) []string {
	var words []string
	for _, l := range strings.Split(filter, "/") {
		if device.CheckID(l) == nil && !slices.Contains(words, l) {
			words = append(words, l)
		}
	}
	return words
}

// spoken returns every topic on an operator's row that the filter matches. The first levels
// hold all words that a row can tell apart; behind them one word is enough, because no row
// looks at it.
func (o *oracle) spoken(filter string) []string {
	const told = 3 // levels before the '#' of a drawn row
	words := []string{"a", "b", "unheard", "dev1", "future", "temp1", "far1", room1.String(), id(0x7f).String(),
		strings.ToUpper(room1.String()), ""}
	f := strings.Split(filter, "/")
	rest := f[len(f)-1] == "#"
	if rest {
		f = f[:len(f)-1]
	}
	longest := len(f)
	if rest {
		longest = max(len(f), told) + 2
	}
	var all []string
	var speak func(l []string)
	speak = func(l []string) {
		if name := strings.Join(l, "/"); name != "" && len(l) >= len(f) {
			if possible, _ := o.operator(l); possible && !reservedWord(l[0]) {
				all = append(all, name)
			}
		}
		switch {
		case len(l) == longest:
		case len(l) < len(f) && f[len(l)] != "+":
			speak(append(l[:len(l):len(l)], f[len(l)]))
		case len(l) > told:
			speak(append(l[:len(l):len(l)], "unheard"))
		default:
			for _, w := range words {
				speak(append(l[:len(l):len(l)], w))
			}
		}
	}
	speak(nil)
	return all
}

func reservedWord(l string) bool {
	return slices.Contains([]string{"devices", "spaces", "registry", "deviceupdate"}, l) || strings.HasPrefix(l, "$")
}

func TestContainmentAgainstEnumeration(t *testing.T) {
	granted, refused, worlds := 0, 0, 0
	rapid.Check(t, func(t *rapid.T) {
		if worlds++; underRace && worlds > 10 {
			return
		}
		w := newWorld(t)
		rows := drawRows(t)
		m := w.open()
		m.SetTopicMap(topicMapOf(w, rows))
		p := drawPrincipal(t)
		roles := []string{model.UserRole, model.GatewayDeviceRole, model.SpaceAdministratorRole, model.SupportSpecialistRole,
			model.DeviceInstallerRole}
		paths := []space.Path{space.Root, sitePath, floor1Path, floor2Path, room1Path, room2Path}
		for range rapid.IntRange(1, 3).Draw(t, "assignments") {
			w.assign(p.Subject.Identities[0], rapid.SampledFrom(roles).Draw(t, "role"), rapid.SampledFrom(paths).Draw(t, "path"))
		}
		o := &oracle{w: w, p: p, rows: rows}
		universe := append(o.universe(), o.spoken("#")...)
		r := m.Open(p)
		if !r.Connect().Allowed {
			return
		}
		for range 8 {
			filter := drawFilter(t, universe)
			possible, want := false, true
			witness := ""
			for _, name := range append(o.spoken(filter), o.universe(named(filter)...)...) {
				if topic.Match(filter, name) {
					possible = true
					if !o.readable(name) {
						want, witness = false, name
					}
				}
			}
			want = want && possible
			got := r.Subscribe(filter)
			if got.Allowed != want {
				t.Fatalf("%s subscribes to %q: %v (%s %s), the enumeration says %v (possible %v, unreadable %q)", p.Key, filter, got.Allowed,
					got.Reason, got.Detail, want, possible, witness)
			}
			if want {
				granted++
			} else {
				refused++
			}
		}
	})
	if granted == 0 || refused == 0 {
		t.Errorf("%d granted, %d refused: the worlds say nothing", granted, refused)
	}
}

// drawFilter draws a filter: a topic of the world with some levels made wider, narrower or
// different.
func drawFilter(t *rapid.T, universe []string) string {
	for {
		l := strings.Split(rapid.SampledFrom(universe).Draw(t, "topic"), "/")
		for i := range l {
			switch rapid.IntRange(0, 9).Draw(t, "bend") {
			case 0, 1, 2:
				l[i] = "+"
			case 3:
				if rapid.IntRange(0, 4).Draw(t, "other") == 0 {
					l[i] = rapid.SampledFrom([]string{"dev1", "room", "a", "future", "devices", "spaces"}).Draw(t, "word")
				}
			}
		}
		if rapid.Bool().Draw(t, "rest") {
			// Not after the deepest path: the universe ends there.
			l = append(l[:rapid.IntRange(0, min(len(l), 7)).Draw(t, "cut")], "#")
		}
		f := strings.Join(l, "/")
		if topic.DefaultLimits().Filter(f) == nil {
			return f
		}
	}
}

func drawPrincipal(t *rapid.T) *principal.Principal {
	return rapid.SampledFrom([]*principal.Principal{
		userPrincipal(0x31), devicePrincipal(1, "dev1"), devicePrincipal(3, "gw"), modulePrincipal(1, "dev1", "m1"),
	}).Draw(t, "principal")
}

func drawRows(t *rapid.T) []rowText {
	level := rapid.SampledFrom([]string{"a", "b", "{device}", "{sensor}", "{space}", "+"})
	op := rapid.SampledFrom([]string{"Read Sensor", "Read Device", "Read Space", "Update Device"})
	var rows []rowText
	var filters []string
	for range rapid.IntRange(0, 4).Draw(t, "rows") {
		l := rapid.SliceOfN(level, 1, 3).Draw(t, "levels")
		if rapid.IntRange(0, 2).Draw(t, "open") == 0 {
			l = append(l, "#")
		}
		r := rowText{Topic: strings.Join(l, "/"), Scope: rapid.SampledFrom([]string{"/", floor1Path.String()}).Draw(t, "scope")}
		if why, _ := checkPattern(r.Topic); why != "" {
			continue
		}
		if hasCapture(compile(r.Topic, operatorSegs)) {
			r.Scope = ""
		}
		if rapid.IntRange(0, 5).Draw(t, "publishable") > 0 {
			r.Publish = &needText{AnyOf: []string{"Update Device"}}
		}
		n := &needText{}
		if ops := rapid.SliceOfN(op, 1, 2).Draw(t, "ops"); rapid.Bool().Draw(t, "all") {
			n.AllOf = ops
		} else {
			n.AnyOf = ops
		}
		if r.Publish == nil || rapid.IntRange(0, 5).Draw(t, "readable") > 0 {
			r.Subscribe = n
		}
		unreachable := false
		for _, f := range filters {
			unreachable = unreachable || topic.Contains(f, plainFilter(r.Topic))
		}
		if !unreachable {
			filters = append(filters, plainFilter(r.Topic))
			rows = append(rows, r)
		}
	}
	return rows
}
