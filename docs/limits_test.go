package docs_test

import (
	"fmt"
	"go/constant"
	"go/token"
	"go/types"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// limit is a row of docs/limits.md.
type limit struct{ name, value, key, constant, file string }

var (
	quoted    = regexp.MustCompile("^`([^`]+)`")
	inFile    = regexp.MustCompile("^`(\\w+)` in \\[[^]]+\\]\\(\\.\\./([^)]+)\\)$")
	setting   = regexp.MustCompile("(?m)^\\| `([\\w.\\[\\]]+)` \\| ([^|]+) \\| `?([^|`]*)`? \\|")
	defaulted = regexp.MustCompile(`(?m)^\s*def\(&[lo]\.(\w+), (.+)\)$`)
	// bounding are the settings that bound clients: those of these sections which are numbers, sizes or times.
	bounding = regexp.MustCompile(`^(?:limits|sessions|outbox)\.|^identity\.sas\.maxLife$`)
	measured = regexp.MustCompile(`^(?:whole number|number|size|duration)`)
)

// limitsOf reads the rows of the page.
func limitsOf(page string) (list []limit) {
	for line := range strings.Lines(page) {
		cells := strings.Split(strings.TrimSpace(line), " | ")
		if len(cells) < 3 || !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| limit |") {
			continue
		}
		l := limit{name: strings.TrimPrefix(cells[0], "| ")}
		if m := quoted.FindStringSubmatch(cells[1]); m != nil {
			l.value = m[1]
		}
		if m := inFile.FindStringSubmatch(cells[2]); m != nil {
			l.constant, l.file = m[1], m[2]
		} else if m := quoted.FindStringSubmatch(cells[2]); m != nil {
			l.key = m[1]
		}
		list = append(list, l)
	}
	return list
}

// worth is a number as Go or this page writes it: 10*time.Second and 10s, 4<<10 and 4 KiB. Another text, as
// max(8, l.Pending/4), is returned as it is.
func worth(text string) string {
	for from, to := range map[string]string{
		"time.Second": "1000000000", "time.Minute": "60000000000", "time.Hour": "3600000000000", "time.Millisecond": "1000000",
	} {
		text = strings.ReplaceAll(text, from, to)
	}
	for _, unit := range []struct{ suffix, factor string }{
		{" KiB", "1024"}, {" MiB", "1048576"}, {" GiB", "1073741824"},
		{"ms", "1000000"}, {"s", "1000000000"}, {"m", "60000000000"}, {"d", "86400000000000"},
	} {
		if before, ok := strings.CutSuffix(text, unit.suffix); ok {
			text = before + "*" + unit.factor
			break
		}
	}
	if v, err := types.Eval(token.NewFileSet(), nil, token.NoPos, text); err == nil && v.Value != nil && v.Value.Kind() == constant.Int {
		return v.Value.ExactString()
	}
	return text
}

// inSource finds what a file gives a name: in a constant, or as the default of a field (func def).
func inSource(source, name string) string {
	for _, m := range defaulted.FindAllStringSubmatch(source, -1) {
		if m[1] == name {
			return m[2]
		}
	}
	if m := regexp.MustCompile(`(?m)^(?:\s*|const )` + name + ` += ([^/\n]+)`).FindStringSubmatch(source); m != nil {
		return strings.TrimSpace(m[1])
	}
	return ""
}

// untold returns the mistakes of the page docs/limits.md. A mistake is a default that differs from the program's, or a
// limit that the page does not have.
func untold(page, configuration string, source func(file string) string) (wrong []string) {
	settings := map[string]string{}
	known := map[string]bool{}
	for _, m := range setting.FindAllStringSubmatch(configuration, -1) {
		settings[m[1]] = m[3]
	}
	for _, l := range limitsOf(page) {
		switch {
		case l.constant != "":
			known[l.constant] = true
			if is := inSource(source(l.file), l.constant); is == "" || worth(is) != worth(l.value) {
				wrong = append(wrong, fmt.Sprintf("%s: %q, but %s in %s is %q", l.name, l.value, l.constant, l.file, is))
			}
		case l.key != "":
			known[l.key] = true
			if is, ok := settings[l.key]; !ok || worth(is) != worth(l.value) {
				wrong = append(wrong, fmt.Sprintf("%s: %q, but %s is %q", l.name, l.value, l.key, is))
			}
		}
	}
	for _, m := range setting.FindAllStringSubmatch(configuration, -1) {
		if bounding.MatchString(m[1]) && measured.MatchString(m[2]) && !known[m[1]] {
			wrong = append(wrong, m[1]+" stands nowhere")
		}
	}
	// What the daemon does not set by its configuration has the broker's own default, and stands here.
	set := source("gateway/daemon.go") + source("gateway/listeners.go")
	for _, m := range defaulted.FindAllStringSubmatch(source("gateway/broker/options.go"), -1) {
		configured := regexp.MustCompile(`\b` + m[1] + `: `).MatchString(set)
		if m[1] != "AcceptRetryAfter" && m[1] != "PrincipalBytes" && !configured && !known[m[1]] {
			wrong = append(wrong, m[1]+" of gateway/broker/options.go stands nowhere")
		}
	}
	return wrong
}

func source(t *testing.T) func(file string) string {
	return func(file string) string {
		text, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			t.Error(err)
		}
		return string(text)
	}
}

// docs/limits.md has the defaults of the program, and every limit.
func TestLimits(t *testing.T) {
	t.Parallel()
	read := source(t)
	page := read("docs/limits.md")
	if n := len(limitsOf(page)); n < 50 {
		t.Errorf("%d limits are read", n)
	}
	for _, wrong := range untold(page, read("docs/reference/configuration.md"), read) {
		t.Error(wrong)
	}
}

// The check finds what it is for.
func TestLimitsBite(t *testing.T) {
	t.Parallel()
	read := source(t)
	page, configuration := read("docs/limits.md"), read("docs/reference/configuration.md")
	for _, change := range [][2]string{
		{"| `48` | `limits.maxTopicLevels`", "| `64` | `limits.maxTopicLevels`"},
		{"| `10s` | `limits.connectTimeout`", "| `10ms` | `limits.connectTimeout`"},
		{"| `64` | `MaxUserProperties`", "| `65` | `MaxUserProperties`"},
		{"| `256 KiB` | `maxBehind`", "| `256` | `maxBehind`"},
		{"`sessions.retained`", "`sessions.gone`"},
		{"`SuspendFor` in", "`Gone` in"},
	} {
		changed := strings.Replace(page, change[0], change[1], 1)
		if changed == page || len(untold(changed, configuration, read)) == 0 {
			t.Errorf("%s: nothing is found", change[1])
		}
	}
}
