//go:build !linux

package broker

import (
	"net"
	"time"
)

func tune(net.Conn, int) {}

func peerUID(net.Conn) int { return -1 }

func keepAlive(net.Conn, int) int { return 0 }

func silence(net.Conn) (time.Duration, bool) { return 0, false }

func closedByPeer(net.Conn) bool { return false }
