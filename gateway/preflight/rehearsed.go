package preflight

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// Rehearsed is the error of a rehearsal as problems of the configuration: what kept the daemon from
// being built would end it at its start. It is a warning if this process lacked a file that the
// daemon has.
func Rehearsed(cfg *config.Config, err error) []config.Problem {
	if err == nil {
		return nil
	}
	p := passes(problemOf(cfg, err), err)
	// A file that the daemon waits for is never the reason: build goes on without it.
	if unseen := slices.DeleteFunc(cfg.Unseen(), isWaitedFor); len(unseen) > 0 {
		p.Warning = true
		p.Message = fmt.Sprintf("was not tried to the end, without %s: %s", strings.Join(unseen, ", "), p.Message)
		p.Hint = config.AsTheService
	}
	return []config.Problem{p}
}

// aField matches the name of a setting, with which build begins an error about it.
var aField = regexp.MustCompile(`^[a-z]\w*(\.\w+|\[\d+\])+$`)

// problemOf is an error of build as a problem of the configuration: at the line
// of the setting that the error names, if it names one.
func problemOf(cfg *config.Config, err error) config.Problem {
	var p config.Problem
	if errors.As(err, &p) {
		return p
	}
	const hint = "correct what it names: the daemon would end with this at its start"
	if field, message, ok := strings.Cut(err.Error(), ": "); ok && aField.MatchString(field) {
		return cfg.Problem(field, message, hint)
	}
	return cfg.Problem("", err.Error(), hint)
}
