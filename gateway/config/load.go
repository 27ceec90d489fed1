package config

import (
	"fmt"
	"os"
	"reflect"
	"time"
)

// Load reads file over Default and validates the result. With problems the
// Config is what could be read of it and must not be used to start anything.
// The files that the configuration names are not opened: CheckFiles does.
func Load(file string) (Config, []Problem) {
	return load(file, os.Getenv)
}

// LoadForCheck is Load for a process that does not run as the service: where it
// lacks the credentials that systemd gives the service, the settings that name
// one are warnings and listed by Unseen, instead of problems.
func LoadForCheck(file string) (Config, []Problem) {
	return loadInto(newSource(file), os.Getenv, true)
}

func load(file string, env func(string) string) (Config, []Problem) {
	return loadInto(newSource(file), env, false)
}

func loadInto(src *Source, env func(string) string, elsewhere bool) (Config, []Problem) {
	c := Default()
	src.elsewhere = elsewhere
	problems := readFile(src, &c, env)
	c.src = src
	return c, c.finish(problems)
}

// finish fills in what follows from other values and adds what Validate finds,
// except about fields that could not even be read: one mistake is one problem.
// Warnings are kept in the source.
func (c *Config) finish(problems []Problem) []Problem {
	if len(problems) == 1 && problems[0].Field == "" {
		return problems // nothing was read: every "missing" would be noise
	}
	c.inherit()
	for _, p := range append(c.zeros(), c.Validate()...) {
		switch {
		case covered(c.src.unread, p.Field):
		case p.Warning:
			c.src.warnings = append(c.src.warnings, p)
		default:
			problems = append(problems, p)
		}
	}
	sortProblems(problems)
	sortProblems(c.src.warnings)
	return problems
}

// inherit gives every listener those shared limits that it does not name.
func (c *Config) inherit() {
	shared := reflect.ValueOf(&c.Limits.ListenerLimits).Elem()
	for i := range c.Listeners {
		own := reflect.ValueOf(&c.Listeners[i].Limits).Elem()
		for j := range own.NumField() {
			if !c.src.Has(fmt.Sprintf("listeners[%d].limits.%s", i, keyOf(own.Type().Field(j)))) {
				own.Field(j).Set(shared.Field(j))
			}
		}
	}
}

// zeros puts the default where the file says 0 and 0 has never meant "none".
// Refusing it would keep a gateway from starting after an upgrade.
func (c *Config) zeros() []Problem {
	var warnings []Problem
	d := Default()
	for _, z := range []struct {
		field        string
		value, usual any // pointers of one type
	}{
		{"limits.maxKeepAlive", &c.Limits.MaxKeepAlive, &d.Limits.MaxKeepAlive},
		{"limits.topicAliasMaximum", &c.Limits.TopicAliasMaximum, &d.Limits.TopicAliasMaximum},
		{"sessions.maxExpiry", &c.Sessions.MaxExpiry, &d.Sessions.MaxExpiry},
		{"sessions.retained", &c.Sessions.Retained, &d.Sessions.Retained},
		{"sessions.retainedBytes", &c.Sessions.RetainedBytes, &d.Sessions.RetainedBytes},
	} {
		v, usual := reflect.ValueOf(z.value).Elem(), reflect.ValueOf(z.usual).Elem()
		if !v.IsZero() {
			continue
		}
		v.Set(usual)
		if c.src.Has(z.field) {
			standard := usual.Interface()
			if d, ok := standard.(time.Duration); ok {
				standard = FormatDuration(d)
			}
			p := c.Problem(z.field, "is 0, which is read as the default",
				fmt.Sprintf("remove the line (the default is %v), or write what it should be", standard))
			p.Warning = true
			warnings = append(warnings, p)
		}
	}
	return warnings
}

// Unread tells whether a field was given and could not be read.
func (s *Source) Unread(field string) bool { return s != nil && covered(s.unread, field) }

func covered(unread map[string]bool, field string) bool {
	for f := field; ; f = parent(f) {
		if unread[f] {
			return true
		}
		if f == "" {
			return false
		}
	}
}

func parent(field string) string {
	for i := len(field) - 1; i >= 0; i-- {
		if field[i] == '.' || field[i] == '[' {
			return field[:i]
		}
	}
	return ""
}
