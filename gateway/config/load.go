package config

import "os"

// Load reads file over Default and validates the result. With problems the
// Config is what could be read of it and must not be used to start anything.
// The files that the configuration names are not opened: CheckFiles does.
func Load(file string) (Config, []Problem) {
	return load(file, os.Getenv)
}

func load(file string, env func(string) string) (Config, []Problem) {
	c := Default()
	src, problems := decodeFile(file, &c, env)
	c.src = src
	return c, c.finish(problems)
}

// finish adds what Validate finds, except about fields that could not even be
// read: one mistake is one problem.
func (c *Config) finish(problems []Problem) []Problem {
	if len(problems) == 1 && problems[0].Field == "" {
		return problems // nothing was read: every "missing" would be noise
	}
	for _, p := range c.Validate() {
		if !covered(c.src.unread, p.Field) {
			problems = append(problems, p)
		}
	}
	sortProblems(problems)
	return problems
}

// Unread tells whether a field was given and could not be read.
func (s *Source) Unread(field string) bool { return covered(s.unread, field) }

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
