package preflight

import (
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/store"
)

// taken warns of ports on which another program listens: the daemon would start and wait for
// them. While a daemon has the state open, nothing is reported: the ports are its own.
func taken(cfg *config.Config) []config.Problem {
	if store.InUse(string(cfg.State.Dir)) {
		return nil
	}
	var list []config.Problem
	look := func(field, address string) {
		if address != "" && errors.Is(bindable(address), unix.EADDRINUSE) {
			p := cfg.Problem(field, fmt.Sprintf("%s is taken by another process", address),
				"ss -ltnp names it: end it or choose another address; the gateway waits for it. If it is gatehoused.socket, all is well")
			p.Warning = true
			list = append(list, p)
		}
	}
	for i, l := range cfg.Listeners {
		if l.Kind != config.KindUnix {
			look(fmt.Sprintf("listeners[%d].address", i), l.Address)
		}
	}
	look("admin.address", cfg.Admin.Address)
	look("api.address", cfg.API.Address)
	return list
}

// bindable binds a socket to the address and closes it again. It never listens, so that no
// client can connect to a program that only checks.
func bindable(address string) error {
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return err
	}
	var to unix.Sockaddr
	family := unix.AF_INET6
	if v4 := a.IP.To4(); v4 != nil {
		family, to = unix.AF_INET, &unix.SockaddrInet4{Port: a.Port, Addr: [4]byte(v4)}
	} else {
		six := &unix.SockaddrInet6{Port: a.Port}
		copy(six.Addr[:], a.IP.To16())
		to = six
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	// As net.Listen does: a connection in TIME_WAIT does not count as taking the port.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, to)
}
