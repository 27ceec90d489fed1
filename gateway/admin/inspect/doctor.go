package inspect

import (
	"context"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/health/warnings"
	"github.com/gatehouse/gatehouse/gateway/offline"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// Doctor repeats the warnings of health, and looks at what operators often get wrong and at what they want
// to see confirmed. It looks at this machine only: the network is looked at by gatehousectl, at Remotes.
func (n *Inspector) Doctor(ctx context.Context) []admin.Finding {
	d := &findings{raised: map[string]bool{}}
	for _, w := range n.o.Health().Warnings {
		d.raised[w.Name] = true
		d.add(w.Name, stateOf(w.Severity), w.Text, w.Next)
	}
	n.policyFindings(ctx, d)
	n.clockFinding(d)
	n.certificateFindings(d)
	n.diskFindings(d)
	n.fileFindings(d)
	n.limitFindings(d)
	n.deviceFindings(d)
	return d.list
}

// The states of an admin.Finding.
const (
	ok     = "ok"
	notice = "notice"
	warn   = "warn"
	fail   = "fail"
)

func stateOf(s health.Severity) string {
	switch s {
	case health.Notice:
		return notice
	case health.Degraded:
		return warn
	}
	return fail
}

// findings are collected in the order in which they are shown.
type findings struct {
	list   []admin.Finding
	raised map[string]bool // the names of health's warnings
}

func (d *findings) add(name, state, text, next string) {
	d.list = append(d.list, admin.Finding{Name: name, State: state, Text: text, Next: next})
}

func (n *Inspector) policyFindings(ctx context.Context, d *findings) {
	if n.o.Aging.Stage() == offline.Fresh {
		d.add("policy", ok, fmt.Sprintf("version %s, confirmed %s ago", n.index().Version(), n.o.Aging.Age().Round(time.Second)), "")
	}
	if du := n.o.Instance.DeviceUpdate; du.ARMScope != "" && du.Principal.ObjectID.IsZero() {
		d.add("device-update-principal", warn, "instance.deviceUpdate.principal is not set: every deployment from upstream is refused",
			"az ad sp show --id 6ee392c4-d339-4083-b04d-6b7947c6cf78 --query id names the object id in your tenant")
	}
	policy, err := n.o.Stored(ctx)
	if err != nil {
		return // health says cache-empty
	}
	for _, a := range policy.Assignments {
		if a.Path.IsRoot() {
			d.add("root-assignment", notice, fmt.Sprintf("assignment %s gives a role at / to %s", a.ID, n.label(a.Who)),
				"assign it at the lowest space that will do")
		}
	}
}

// clockFinding compares the trusted time with the system clock. Where they differ by more than a time
// server corrects, health has a warning.
func (n *Inspector) clockFinding(d *findings) {
	if d.raised["system-clock"] || d.raised["clock-jump"] || d.raised["cloud-clock"] {
		return
	}
	ahead := time.Until(n.o.Now()).Round(time.Second)
	d.add("clock", ok, fmt.Sprintf("the time by which the gateway judges is the system clock's (difference %s)", ahead.Abs()), "")
}

func (n *Inspector) certificateFindings(d *findings) {
	now := n.o.Now()
	for _, c := range n.o.Doors.Certificates() {
		if c.At(now) == tlsfile.Good { // health has a warning about each of the others
			d.add(c.Door+"-certificate", ok,
				fmt.Sprintf("good for %s, until %s", warnings.Left(c.Left(now)), c.NotAfter.UTC().Format(time.RFC3339)), "")
		}
	}
}

// diskFindings are about the file system of the state directory.
func (n *Inspector) diskFindings(d *findings) {
	cfg, s := n.o.Config(), n.o.Disk()
	text := fmt.Sprintf("%d MiB are stored, %d MiB are free", s.Used>>20, s.Free>>20)
	// Compaction needs as much again as is stored (gateway/store).
	want := s.MinFree + 2*uint64(cfg.Outbox.MaxBytes) - min(s.Used, 2*uint64(cfg.Outbox.MaxBytes))
	switch {
	case n.o.Outbox == nil || s.Free >= want:
		d.add("space", ok, text, "")
	default:
		d.add("space", notice, fmt.Sprintf("%s; an outbox as full as outbox.maxBytes allows would want %d MiB", text, want>>20),
			"give the state directory twice outbox.maxBytes, or lower that")
	}
	dir := string(cfg.State.Dir)
	var fs unix.Statfs_t
	if unix.Statfs(dir, &fs) == nil && fs.Files > 0 && fs.Ffree < 1000 {
		d.add("inodes", warn, fmt.Sprintf("the file system of %s has %d inodes left", dir, fs.Ffree), "remove small files there (df -i)")
	}
	if info, err := os.Stat(dir); err != nil {
		d.add("state-directory", fail, err.Error(), "make it again, for the user that gatehoused runs as, and restart the daemon")
	} else if mode := info.Mode().Perm(); mode&0o077 != 0 {
		d.add("state-directory", warn, fmt.Sprintf("%s has mode %04o and holds keys", dir, mode), "chmod 0700 "+dir)
	} else {
		d.add("state-directory", ok, fmt.Sprintf("%s has mode %04o", dir, mode), "")
	}
}

// fileFindings are about the files that the configuration names, as the daemon's own user sees them.
func (n *Inspector) fileFindings(d *findings) {
	problems := n.o.Config().CheckFiles()
	for _, p := range problems {
		state := fail
		if p.Warning {
			state = warn
		}
		d.add("file-"+p.Field, state, p.Message, p.Hint)
	}
	if len(problems) == 0 {
		d.add("files", ok, "every file that the configuration names can be read, and no secret by others", "")
	}
}

// ownDescriptors is how many files the daemon may have open beside its connections: stores, logs, links.
const ownDescriptors = 1024

func (n *Inspector) limitFindings(d *findings) {
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) != nil {
		return
	}
	cfg := n.o.Config()
	want := uint64(ownDescriptors)
	for i := range cfg.Listeners {
		want += uint64(max(0, cfg.Listeners[i].Limits.MaxConnections)) //nolint:gosec // it is not negative
	}
	if cfg.Upstream.Mode == config.UpstreamIoTHub && cfg.Upstream.IoTHub.PerDevice {
		want += uint64(max(0, n.count().devices)) //nolint:gosec // it is not negative
	}
	if limit.Cur < want {
		d.add("descriptors", warn,
			fmt.Sprintf("%d files may be open, and the listeners' maxConnections with everything else may want %d", limit.Cur, want),
			"raise LimitNOFILE= of the unit (systemctl edit gatehoused), or lower maxConnections")
		return
	}
	d.add("descriptors", ok, fmt.Sprintf("%d files may be open, %d are wanted at most", limit.Cur, want), "")
}
