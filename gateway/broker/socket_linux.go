package broker

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// tune limits the unsent data that the kernel buffers for a socket. Otherwise up to a megabyte of
// messages could still be sent after their right was revoked (docs/spec/semantics.md 4.7).
func tune(nc net.Conn, notSent int) {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return
	}
	if raw, err := t.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, notSent)
		})
	}
}

// peerUID asks the kernel who is at the other end of a unix socket.
func peerUID(nc net.Conn) int {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return -1
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return -1
	}
	uid := -1
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			uid = int(cred.Uid)
		}
	})
	return uid
}
