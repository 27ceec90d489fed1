package rig

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// CPU is the processor time that the program has used.
func (p *Program) CPU() (time.Duration, error) { return CPU(p.PID()) }

// CPU is the processor time that a process has used, user and system.
func CPU(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name, in parentheses, may hold blanks; what follows it does not (proc_pid_stat(5)).
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is short")
	}
	user, err1 := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	const tick = 10 * time.Millisecond // USER_HZ is 100 wherever Go runs on Linux
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// Memory is what a process holds, in bytes (proc_pid_status(5)).
type Memory struct {
	Anon   int64 // RssAnon: its own
	File   int64 // RssFile: of files that it has mapped, the program's own among them
	Shared int64 // RssShmem
}

// Memory is what the program holds now.
func (p *Program) Memory() (Memory, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.PID()))
	if err != nil {
		return Memory{}, err
	}
	return parseMemory(string(text))
}

func parseMemory(text string) (m Memory, err error) {
	found := 0
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(line, ":")
		into := map[string]*int64{"RssAnon": &m.Anon, "RssFile": &m.File, "RssShmem": &m.Shared}[name]
		if into == nil {
			continue
		}
		kib, unit, _ := strings.Cut(strings.TrimSpace(value), " ")
		n, err := strconv.ParseInt(kib, 10, 64)
		if err != nil || unit != "kB" {
			return m, fmt.Errorf("/proc/PID/status: %s", strings.TrimSpace(line))
		}
		*into = n << 10
		found++
	}
	if found != 3 {
		return m, errors.New("/proc/PID/status has no RssAnon, RssFile and RssShmem")
	}
	return m, nil
}

// Written is how many bytes the program has caused to be sent to disks: pages of files
// that it has made dirty, also by mapping them (proc_pid_io(5)).
func (p *Program) Written() (int64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.PID()))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(line, "write_bytes: "); ok {
			return strconv.ParseInt(strings.TrimSpace(v), 10, 64)
		}
	}
	return 0, errors.New("/proc/PID/io has no write_bytes")
}
