package gateway

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/systemd"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
)

// doors opens every listener of the configuration: those that systemd passed
// in by name, and the others by their address. On an error none stays open.
func doors(cfg *config.Config, live map[string]*tlsfile.Live) (list []broker.Listener, adminSocket, page net.Listener, err error) {
	var open []net.Listener
	defer func() {
		if err != nil {
			for _, l := range open {
				_ = l.Close()
			}
		}
	}()
	names := []string{"admin", "page"}
	for _, l := range cfg.Listeners {
		names = append(names, l.Name)
	}
	passed, err := systemd.Listeners(names...)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, l := range passed {
		open = append(open, l)
	}
	for i := range cfg.Listeners {
		c := &cfg.Listeners[i]
		l, ok := passed[c.Name]
		if !ok {
			if l, err = listen(c); err != nil {
				return nil, nil, nil, fmt.Errorf("listener %q: %w", c.Name, explainListen(err, c.Address))
			}
			open = append(open, l)
		}
		door := broker.Listener{
			Name: c.Name, Listener: l, Filtered: c.Filtered, Origins: c.Origins, Path: c.Path,
			Limits: broker.Limits{
				Handshake: c.Limits.HandshakeTimeout, Connect: c.Limits.ConnectTimeout, ConnectPacket: int(c.Limits.MaxConnectPacket),
				Pending: c.Limits.MaxUnauthenticated, PerAddress: c.Limits.MaxPerAddress, RatePerAddress: c.Limits.RatePerAddress,
				MaxConnections: c.Limits.MaxConnections,
			},
		}
		switch c.Kind {
		case config.KindWebSocket:
			door.Kind = broker.WebSocket
		case config.KindUnix:
			door.Kind = broker.Unix
		}
		if c.OnDeniedPublish == config.OnDeniedIgnore {
			door.OnDeniedPublish = broker.Ignore
		}
		if c.TLS != nil {
			t, err := tlsfile.Server(c.TLS)
			if err != nil {
				return nil, nil, nil, fmt.Errorf("listener %q: %w", c.Name, err)
			}
			live[c.Name] = new(tlsfile.Live)
			live[c.Name].Store(t)
			door.TLS = live[c.Name].Config()
		}
		list = append(list, door)
	}
	page = passed["page"]
	if page == nil && cfg.Admin.Address != "" {
		if page, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", cfg.Admin.Address); err != nil {
			return nil, nil, nil, fmt.Errorf("admin.address: %w", explainListen(err, cfg.Admin.Address))
		}
	}
	return list, passed["admin"], page, nil
}

func listen(c *config.Listener) (net.Listener, error) {
	network := "tcp"
	if c.Kind == config.KindUnix {
		network = "unix"
		// A socket file that nobody answers on was left by a process that died.
		if conn, err := (&net.Dialer{}).Dial("unix", c.Address); err == nil {
			_ = conn.Close()
			return nil, syscall.EADDRINUSE
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			if err := os.Remove(c.Address); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	return (&net.ListenConfig{}).Listen(context.Background(), network, c.Address)
}

// explainListen says what an operator can do about a socket that cannot be opened.
func explainListen(err error, address string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another process: end it (ss -ltnp names it), or choose another address", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("this user may not listen on %s: use a port from 1024 up, or let systemd pass the socket in (gatehoused.socket)", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("no interface of this machine has the address %s", address)
	}
	return err
}
