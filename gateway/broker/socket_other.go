//go:build !linux

package broker

import "net"

func tune(net.Conn, int) {}

func peerUID(net.Conn) int { return -1 }
