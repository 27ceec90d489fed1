package access

import (
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/topic"
)

// capture is the value that a level of a pattern is bound to: one text, or (any) every text
// that a topic may hold there, now or later.
type capture struct {
	text  string
	any   bool
	bound bool
}

// binding is a row with its captures filled in. Bound to a topic name, no capture is any. Bound
// to a filter, it is a representative of the topics that the filter can match.
type binding struct {
	row                       *row
	device, module            capture
	sensor, space, bag, query capture
	name, action              capture
	status                    int
	path                      space.Path // of a mirror topic: the path, or the part before the first wildcard
	pathAny                   bool       // path is only the part before the first wildcard
}

// bind binds one level, and refuses a text that no topic of a built-in row can hold there. It
// does not check the captures of an operator's row: those are resolved when the row is decided,
// because one that cannot be resolved must deny instead of falling through to the next row.
func (b *binding) bind(s seg, text string, any bool) bool {
	c := capture{text, any, true}
	switch s.kind {
	case segLiteral:
		return any || text == s.text
	case segDevice:
		b.device = c
	case segModule:
		b.module = c
	case segSensor:
		b.sensor = c
	case segSpace:
		b.space = c
	case segBag:
		b.bag = c
	case segName:
		b.name = c
		return any || text != ""
	case segQuery:
		b.query = c
		return any || strings.HasPrefix(text, "?")
	case segAction:
		b.action = c
		return any || text == "create" || text == "cancel" || text == "retry"
	case segStatus:
		if any {
			return true
		}
		n, err := strconv.Atoi(text)
		b.status = n
		return err == nil && len(text) <= 9
	}
	return true
}

// matchName binds a topic name to a pattern. It allocates only for the path of a mirror topic.
func (b *binding) matchName(pattern []seg, name string) bool {
	rest, more := name, true
	for _, s := range pattern {
		switch s.kind {
		case segRest:
			return true
		case segPath:
			var ok bool
			if rest, ok = b.matchPath(name, rest); !ok {
				return false
			}
			continue
		}
		if !more {
			return false
		}
		var level string
		level, rest, more = topic.Cut(rest)
		if !b.bind(s, level, false) {
			return false
		}
	}
	return !more
}

// matchPath reads the levels before "devices" as a space path in canonical form, and returns
// what follows.
func (b *binding) matchPath(name, rest string) (string, bool) {
	end := strings.Index(rest, "devices/")
	if end == 0 {
		b.path = space.Root
		return rest, true
	}
	if end < 0 || rest[end-1] != '/' {
		return "", false
	}
	from := len(name) - len(rest) - 1 // the '/' before the first GUID
	text := name[from : from+end]
	p, err := space.ParsePath(text)
	if err != nil || p.String() != text {
		return "", false
	}
	b.path = p
	return rest[end:], true
}

// valid reports whether a topic with these captures can ever be published.
func (b *binding) valid() bool {
	ok := func(c capture) bool { return !c.bound || c.any || device.CheckID(c.text) == nil }
	if !ok(b.device) || !ok(b.module) || !ok(b.sensor) {
		return false
	}
	if b.space.bound && !b.space.any {
		id, err := space.ParseID(b.space.text)
		if err != nil || id.String() != b.space.text {
			return false
		}
	}
	if b.bag.bound && !b.bag.any {
		bag, err := parseBag(b.bag.text)
		return err == nil && (!b.row.telemetry() || reservedKey(bag) == "")
	}
	return true
}

// bindPath reads the space path of a mirror topic from a filter, up to the first wildcard (the
// head). To read everything below the head it is sufficient to hold the right at the head,
// because an assignment covers its path and all below. It is also necessary: no assignment can
// name a space that does not exist yet.
func (b *binding) bindPath(levels []string) bool {
	b.path = space.Root
	for _, l := range levels {
		if l == "+" {
			b.pathAny = true
			continue
		}
		id, err := space.ParseID(l)
		if err != nil || id.String() != l {
			return false
		}
		if !b.pathAny {
			b.path = b.path.Join(id)
		}
	}
	return len(levels) <= space.MaxDepth
}
