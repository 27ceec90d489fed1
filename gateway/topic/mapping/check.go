package mapping

import (
	"fmt"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/topic"
)

// Fault is a mistake in a rule: the configuration key that holds it ("filter", "from", "to" or
// "topic"), what is wrong, and how to fix it.
type Fault struct{ Key, Message, Hint string }

func (f Fault) Error() string { return fmt.Sprintf("%s %s (%s)", f.Key, f.Message, f.Hint) }

// CheckUp returns the mistakes of a rule for topics that go upstream. Filter must be a valid
// topic filter.
func (r Rule) CheckUp() []Fault {
	faults := r.check()
	for _, t := range []struct{ key, template string }{{"to", r.To}, {"topic", r.Topic}} {
		if name, ok := unknown(t.template); !ok {
			known := "known: {" + strings.Join(Placeholders, "}, {") + "}"
			faults = append(faults, Fault{t.key, fmt.Sprintf("has an unknown placeholder {%s}", name), known})
		}
	}
	if r.Topic != "" && r.From+r.To != "" {
		faults = append(faults, Fault{"topic", "stands beside from or to",
			"keep topic for one fixed topic upstream, or from and to to replace a prefix"})
	}
	return faults
}

// CheckDown returns the mistakes of a rule for topics that come from upstream. Filter must be a
// valid topic filter.
func (r Rule) CheckDown() []Fault {
	faults := r.check()
	if r.Topic != "" {
		faults = append(faults, Fault{"topic", "is only for what goes up", "write from and to"})
	}
	if r.To != "" && Reserved(strings.TrimSuffix(r.To, "/")+"/") {
		faults = append(faults, Fault{"to", fmt.Sprintf("would put messages below %q, which nothing from upstream may name", r.To),
			"choose another prefix: $…, spaces/, registry/ and deviceupdate/ are the gateway's own"})
	}
	return faults
}

func (r Rule) check() []Fault {
	var faults []Fault
	for _, t := range []struct{ key, text string }{{"from", r.From}, {"to", r.To}, {"topic", r.Topic}} {
		switch {
		case strings.ContainsAny(t.text, "+#\x00"):
			faults = append(faults, Fault{t.key, "holds a wildcard or NUL", "write wildcards in filter only"})
		case t.text != "" && t.key != "from":
			if err := topic.DefaultLimits().Name(t.text); err != nil {
				faults = append(faults, Fault{t.key, "is no beginning of a topic: " + err.Error(),
					"write a topic name of at most 4096 bytes and 48 levels"})
			}
		}
	}
	if !strings.HasPrefix(r.Filter, r.From) {
		faults = append(faults, Fault{"from",
			fmt.Sprintf("%q is not how the filter %q begins, so it could not be taken away", clip(r.From), clip(r.Filter)),
			"repeat the beginning of the filter, as in filter: site/# with from: site/"})
	}
	return faults
}

// unknown returns the first placeholder that is not in Placeholders; true if there is none.
func unknown(template string) (string, bool) {
	for {
		_, after, found := strings.Cut(template, "{")
		if !found {
			return "", true
		}
		name, tail, closed := strings.Cut(after, "}")
		if !closed || !slices.Contains(Placeholders, name) {
			return clip(name), false
		}
		template = tail
	}
}

// clip shortens a text of the configuration for use in a message.
func clip(s string) string {
	if r := []rune(s); len(r) > 60 {
		return string(r[:60]) + "…"
	}
	return s
}
