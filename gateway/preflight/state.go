package preflight

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/store"
)

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

// writable checks that files can be made in the directory or, if it does not exist, in its
// nearest parent that does. It does not make the directory, because the check may run as
// another user, whose directory the daemon could not use.
func writable(dir string) error {
	for {
		_, err := os.Stat(dir)
		if err == nil {
			break
		}
		up := filepath.Dir(dir)
		if !errors.Is(err, os.ErrNotExist) || up == dir {
			return err
		}
		if _, err := os.Lstat(dir); err == nil {
			return fmt.Errorf("%s is a link that leads nowhere", dir)
		}
		dir = up
	}
	f, err := os.CreateTemp(dir, ".writable-*")
	if e := (*os.PathError)(nil); errors.As(err, &e) {
		return e.Err // without the name of the temporary file, which tells an operator nothing
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), os.Remove(filepath.Clean(f.Name())))
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
		p.Hint = "free space on its file system (df and df -i show which is used up), or raise its quota"
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

// serviceUser is the user as whom the packaged unit runs the daemon.
const serviceUser = "gatehouse"

// Elsewhere warns that this process runs as another user than the one to whom the state
// belongs, so that the daemon may be able to read files that this process cannot, or not read
// files that it can.
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
		fmt.Sprintf("was looked at by user %d, and the daemon runs as %s: whether that user may read the files named here was not seen",
			os.Geteuid(), name),
		config.AsTheService)
	p.Warning = true
	return []config.Problem{p}
}
