package gateway

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// rehearse builds everything that Run builds, by the same steps, and ends it
// again: over a store in memory, with doors that stay shut, in silence. What
// keeps it from being built would end the daemon at its start.
func rehearse(cfg *config.Config) []config.Problem {
	err := func() error {
		d, err := build(*cfg, Options{rehearsal: true})
		if err != nil {
			return err
		}
		_, err = d.actors()
		return errors.Join(err, d.close())
	}()
	if err == nil {
		return nil
	}
	p := passes(problemOf(cfg, err), err)
	// What a listener shows is never the reason: build goes on without it.
	if unseen := slices.DeleteFunc(cfg.Unseen(), isDoorFile); len(unseen) > 0 {
		p.Warning = true
		p.Message = fmt.Sprintf("was not tried to the end, without %s: %s", strings.Join(unseen, ", "), p.Message)
		p.Hint = config.AsTheService
	}
	return []config.Problem{p}
}

// aField is how the steps of build begin an error about a setting.
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

// state finds what would keep the daemon from using its state directory. It
// opens nothing for writing.
func state(cfg *config.Config) []config.Problem {
	dir := string(cfg.State.Dir)
	if err := writable(dir); err != nil {
		p := cfg.Problem("state.dir", fmt.Sprintf("%s cannot be used: %v", dir, err), cfg.Place().Writable(dir))
		return []config.Problem{passes(p, err)}
	}
	_, err := store.Inspect(dir, store.Options{})
	if err == nil {
		return nil
	}
	hint := "give the directory and all that is in it to the user that gatehoused runs as"
	var e *store.Error
	if errors.As(err, &e) && e.Hint != "" {
		hint = e.Hint
	}
	return []config.Problem{passes(cfg.Problem("state.dir", err.Error(), hint), err)}
}

// passes makes a warning of what a full, failing or read-only disk, or too many open files, did to
// the state directory. The configuration is not wrong: the store then says so at its opening, the
// daemon ends with code 1, and systemd starts it again until the cause is gone.
func passes(p config.Problem, err error) config.Problem {
	is := func(errnos ...unix.Errno) bool {
		return slices.ContainsFunc(errnos, func(e unix.Errno) bool { return errors.Is(err, e) })
	}
	switch {
	case is(unix.ENOSPC, unix.EDQUOT):
		p.Hint = "make room on its file system (df and df -i show which is used up), or raise its quota"
	case is(unix.EROFS):
		p.Hint = "mount its file system writable, if an error of the disk made it read-only (dmesg says so); otherwise " + p.Hint
	case is(unix.EIO):
		p.Hint = "look for errors of the disk (dmesg)"
	case is(unix.EMFILE, unix.ENFILE):
		p.Hint = "raise the limit of open files (LimitNOFILE= of the unit, or fs.file-max)"
	default:
		return p
	}
	p.Warning = true
	return p
}

// serviceUser is as whom the packaged unit runs the daemon.
const serviceUser = "gatehouse"

// Elsewhere warns that files were looked at with other eyes than the daemon's:
// by another user than the one to whom the state belongs.
func Elsewhere(cfg *config.Config) []config.Problem {
	name, id := serviceUser, -1
	var st unix.Stat_t
	if unix.Stat(string(cfg.State.Dir), &st) == nil {
		id, name = int(st.Uid), strconv.Itoa(int(st.Uid))
		if u, err := user.LookupId(name); err == nil {
			name = u.Username
		}
	} else if u, err := user.Lookup(serviceUser); err == nil {
		id, _ = strconv.Atoi(u.Uid)
	}
	if id < 0 || id == os.Geteuid() {
		return nil
	}
	p := cfg.Problem("state.dir",
		fmt.Sprintf("was looked at by user %d, and the daemon runs as %s: whether that user may read the files named here was not seen", os.Geteuid(), name),
		config.AsTheService)
	p.Warning = true
	return []config.Problem{p}
}
