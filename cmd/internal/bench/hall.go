package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/cmd/internal/process"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// hall is where the brokers stand.
type hall struct {
	*building
	options
	cloud     *program
	gatehouse *broker
	library   *broker // mochi alone; nil without -peers
	running   []*program
}

// program is one that was started here.
type program struct {
	*process.Process
	out *process.Lines
}

// broker is a program with its listeners.
type broker struct {
	*program
	name       string
	plain, tls int // ports; 0: no such listener
}

func (h *hall) start(path string, args ...string) (*program, error) {
	out := process.NewLines()
	p, err := process.Start(process.Command{Path: path, Args: args, Output: out, Orphan: syscall.SIGKILL})
	if err != nil {
		return nil, err
	}
	started := &program{p, out}
	h.running = append(h.running, started)
	return started, nil
}

func (h *hall) close() {
	for i := len(h.running) - 1; i >= 0; i-- {
		h.running[i].Kill()
	}
}

// open starts the cloud side, the gateway and the library.
func (h *hall) open(ctx context.Context) (err error) {
	if h.cloud, err = h.start(filepath.Join(h.bin, "managementd"), "-config", h.CloudFile()); err != nil {
		return err
	}
	if err := h.cloud.listens(ctx, h.Ports.API); err != nil {
		return err
	}
	p, err := h.start(filepath.Join(h.bin, "gatehoused"), "-config", h.File("gatehoused.yaml"))
	if err != nil {
		return err
	}
	h.gatehouse = &broker{program: p, name: "gatehouse", plain: h.building.ports.gatehouse, tls: h.Ports.MQTT}
	if err := p.until(ctx, h.synced); err != nil {
		return err
	}
	if !h.peers {
		return nil
	}
	port := h.building.ports.mochi
	if p, err = h.start(filepath.Join(h.bin, "bench-mochi"), "-listen", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		return err
	}
	h.library = &broker{program: p, name: "mochi", plain: port}
	return p.listens(ctx, port)
}

// debian starts a mosquitto with that configuration; the caller ends it, because the configurations share their ports.
func (h *hall) debian(ctx context.Context, conf string) (*broker, error) {
	p, err := h.start("mosquitto", "-c", h.File(conf))
	if err != nil {
		return nil, err
	}
	b := &broker{program: p, name: "mosquitto", plain: h.building.ports.mosquitto, tls: h.building.ports.mosquittoTLS}
	return b, p.listens(ctx, b.plain)
}

func (h *hall) synced(ctx context.Context) error {
	var st admin.Status
	err := h.Get(ctx, fmt.Sprintf("http://127.0.0.1:%d/v1/status", h.Ports.Page), &st)
	if err == nil && (st.Cache.Stage != "fresh" || st.Cache.Devices < len(h.clients)) {
		err = fmt.Errorf("its policy is not there yet: %d devices, %s", st.Cache.Devices, st.Cache.Stage)
	}
	return err
}

func (p *program) listens(ctx context.Context, port int) error {
	return p.until(ctx, func(ctx context.Context) error {
		c, err := (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			err = c.Close()
		}
		return err
	})
}

func (p *program) until(ctx context.Context, ready func(context.Context) error) error {
	if err := p.Ready(ctx, time.Minute, ready); err != nil {
		return fmt.Errorf("%w\n%s", err, process.Tail(p.out.Text(), 20))
	}
	return nil
}

// target is how a broker is reached. Clients come from many addresses, because
// Gatehouse's default allows one address 50 new connections a second.
func (h *hall) target(b *broker, secure bool) load.Target {
	t := load.Target{
		Network:   "tcp",
		Address:   fmt.Sprintf("127.0.0.1:%d", b.plain),
		Level:     4,
		From:      netip.MustParsePrefix("127.1.0.0/16"),
		Timeout:   30 * time.Second,
		KeepAlive: time.Minute,
	}
	if secure {
		t.Address = fmt.Sprintf("127.0.0.1:%d", b.tls)
		t.TLS = &tls.Config{RootCAs: h.Pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}
	}
	return t
}

func (p *program) cpu() (time.Duration, error) { return cpuOf(p.PID()) }

// cpuOf is the processor time that a process has used, user and system.
func cpuOf(pid int) (time.Duration, error) {
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
