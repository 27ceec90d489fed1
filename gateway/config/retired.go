package config

import (
	"fmt"
	"reflect"
	"regexp"

	"go.yaml.in/yaml/v3"
)

// retired is a key of an earlier release. A key is retired for one release:
// its old place is read, or it is let pass, with a warning that shows what to
// write now, so that an upgrade never turns a gateway off.
type retired struct {
	to  string // the field that has its meaning now; "": none has
	why string // without to: why it went, as the end of "is no longer a setting: …"
	// refuse: it never worked, and a gateway with it has never started.
	refuse bool
	hint   string // with refuse
}

// retiredKeys are those of Config, by field with [] for every list index.
var retiredKeys = map[string]retired{
	"identity.audiences.admin":      {why: "the admin socket asks for no token"},
	"identity.audiences.management": {why: "the management API judges the audience of the gateway's token itself"},
	"listeners[].proxyFrom": {
		refuse: true,
		why:    "PROXY v2 is not served by this build",
		hint:   "remove it: every client would be taken for the proxy",
	},
	"overflow": {
		refuse: true,
		why:    overflowWhy,
		hint:   overflowHint,
	},
	"limits.overflow": {
		refuse: true,
		why:    overflowWhy,
		hint:   overflowHint,
	},
	"listeners[].limits.overflow": {
		refuse: true,
		why:    overflowWhy,
		hint:   overflowHint,
	},
	"listeners[].limits.maxPacket":         {to: "limits.maxPacket"},
	"listeners[].limits.maxKeepAlive":      {to: "limits.maxKeepAlive"},
	"listeners[].limits.receiveMaximum":    {to: "limits.receiveMaximum"},
	"listeners[].limits.topicAliasMaximum": {to: "limits.topicAliasMaximum"},
	"listeners[].limits.maxTopicLength":    {to: "limits.maxTopicLength"},
	"listeners[].limits.maxTopicLevels":    {to: "limits.maxTopicLevels"},
	"listeners[].limits.maxFilters":        {to: "limits.maxFilters"},
	"listeners[].limits.writeBuffer":       {to: "limits.writeBuffer"},
}

// overflow is a setting of two sections, and was looked for in others.
const (
	overflowWhy  = "is no setting of this section: queues of clients and the outbox each have their own"
	overflowHint = "write it into the section sessions: (drop-oldest, drop-newest or disconnect) " +
		"or outbox: (refuse, drop-oldest or drop-newest)"
)

var indexes = regexp.MustCompile(`\[\d+\]`)

// retiredOf are the retired keys of what is decoded.
func retiredOf(into any) map[string]retired {
	if _, ok := into.(*Config); ok {
		return retiredKeys
	}
	return nil
}

// moving is a value that stands at an old place.
type moving struct {
	from, to   string
	key, value *yaml.Node
}

func (d *decoder) retire(r retired, name string, key, value *yaml.Node) {
	switch {
	case r.refuse:
		d.report(key.Line, name, r.why, r.hint)
	case r.to != "":
		d.moving = append(d.moving, moving{name, r.to, key, value})
	default:
		d.warn(key.Line, name, "is no longer a setting: "+r.why, "remove the line")
	}
}

func (d *decoder) warn(line int, field, message, hint string) {
	d.src.warnings = append(d.src.warnings, Problem{File: d.src.File, Line: line, Field: field, Message: message, Hint: hint, Warning: true})
}

// move reads the values at old places, once everything else is read: what
// stands at the new place is preferred. Two old places that mean one new one
// must agree.
func (d *decoder) move(root reflect.Value) {
	from := map[string]moving{}
	for _, m := range d.moving {
		if _, given := d.src.lines[m.to]; given && from[m.to].key == nil {
			d.warn(m.key.Line, m.from, fmt.Sprintf("is now %s, which line %d gives, too; that one is used", m.to, d.src.lines[m.to]),
				"remove the line")
			continue
		}
		target := fieldAt(root, m.to)
		value := reflect.New(target.Type()).Elem()
		before := len(d.problems)
		d.value(m.value, value, m.from, 0)
		if len(d.problems) > before {
			continue
		}
		if first := from[m.to]; first.key != nil && !reflect.DeepEqual(value.Interface(), target.Interface()) {
			d.report(m.key.Line, m.from, fmt.Sprintf("differs from line %d, and there is one %s for all listeners", first.key.Line, m.to),
				m.remedy())
			continue
		} else if first.key == nil {
			from[m.to] = m
			target.Set(value)
			d.src.lines[m.to] = m.key.Line
		}
		d.warn(m.key.Line, m.from, "has moved to "+m.to, m.remedy())
	}
}

// remedy shows the line to write.
func (m moving) remedy() string {
	section, key := parent(m.to), m.to[len(parent(m.to))+1:]
	return fmt.Sprintf("write \"%s: %s\" into the section %s: at the top level, instead", key, m.value.Value, section)
}

// fieldAt is the value of a field without list indexes.
func fieldAt(v reflect.Value, field string) reflect.Value {
	if up := parent(field); up != "" {
		v, field = fieldAt(v, up), field[len(up)+1:]
	}
	index, _ := fieldByKey(v.Type(), field)
	return v.FieldByIndex(index)
}
