package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/rig"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// hall is where the brokers stand.
type hall struct {
	*building
	options
	rig.Programs
	cloud     *rig.Program
	gatehouse *broker
	library   *broker // mochi alone; nil without -peers
}

// broker is a program with its listeners.
type broker struct {
	*rig.Program
	name       string
	plain, tls int // ports; 0: no such listener
}

// open starts the cloud side, the gateway and the library.
func (h *hall) open(ctx context.Context) (err error) {
	if h.cloud, err = h.Start(filepath.Join(h.bin, "managementd"), "-config", h.CloudFile()); err != nil {
		return err
	}
	if err := h.cloud.Listens(ctx, h.Ports.API); err != nil {
		return err
	}
	p, err := h.Start(filepath.Join(h.bin, "gatehoused"), "-config", h.File("gatehoused.yaml"))
	if err != nil {
		return err
	}
	h.gatehouse = &broker{Program: p, name: "gatehouse", plain: h.building.ports.gatehouse, tls: h.Ports.MQTT}
	if err := p.Until(ctx, h.synced); err != nil {
		return err
	}
	if !h.peers {
		return nil
	}
	port := h.building.ports.mochi
	if p, err = h.Start(filepath.Join(h.bin, "bench-mochi"), "-listen", fmt.Sprintf("127.0.0.1:%d", port)); err != nil {
		return err
	}
	h.library = &broker{Program: p, name: "mochi", plain: port}
	return p.Listens(ctx, port)
}

// debian starts a mosquitto with that configuration; the caller ends it, because the configurations share their ports.
func (h *hall) debian(ctx context.Context, conf string) (*broker, error) {
	p, err := h.Start("mosquitto", "-c", h.File(conf))
	if err != nil {
		return nil, err
	}
	b := &broker{Program: p, name: "mosquitto", plain: h.building.ports.mosquitto, tls: h.building.ports.mosquittoTLS}
	return b, p.Listens(ctx, b.plain)
}

func (h *hall) synced(ctx context.Context) error {
	var st admin.Status
	err := h.Get(ctx, fmt.Sprintf("http://127.0.0.1:%d/v1/status", h.Ports.Page), &st)
	if err == nil && (st.Cache.Stage != "fresh" || st.Cache.Devices < len(h.clients)) {
		err = fmt.Errorf("its policy is not there yet: %d devices, %s", st.Cache.Devices, st.Cache.Stage)
	}
	return err
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
