// Package freeport finds ports for the programs that tests and the demo start.
package freeport

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
)

// held are the ports that this process has reserved, until it ends.
var held struct {
	sync.Mutex
	reservations []net.Listener
}

// Get returns a loopback port for a program that will listen on it, now and after each restart.
// The port is outside the range from which the kernel assigns ephemeral ports. No other call of
// Get returns it, in any process, while this process runs, because a socket named after the
// port is held.
func Get() (int, error) {
	first, last := outsideEphemeral()
	for range 1000 {
		port := first + rand.IntN(last-first) //nolint:gosec // spreads, keeps no secret
		name, err := (&net.ListenConfig{}).Listen(context.Background(), "unix", fmt.Sprintf("@gatehouse-test-port-%d", port))
		if err != nil {
			continue // somebody has it
		}
		l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			_ = name.Close()
			continue
		}
		_ = l.Close()
		held.Lock()
		held.reservations = append(held.reservations, name)
		held.Unlock()
		return port, nil
	}
	return 0, errors.New("no free port")
}

// outsideEphemeral are the ports below those that the kernel gives out, or
// above them if there are hardly any.
func outsideEphemeral() (first, last int) {
	low, high := 32768, 60999
	if b, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range"); err == nil {
		_, _ = fmt.Sscan(string(b), &low, &high)
	}
	if low >= 12000 {
		return 10000, low
	}
	return min(high+1, 64000), 65535
}
