package broker

import (
	"net"
	"syscall"
	"time"

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

// keepAlive makes the kernel probe the peer when it was silent for so many seconds (0: never), and
// returns what was set before. A connection that is not of TCP is left alone.
func keepAlive(nc net.Conn, seconds int) (before int) {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return 0
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0
	}
	_ = raw.Control(func(fd uintptr) {
		on, _ := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE)
		if on != 0 {
			before, _ = unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE)
		}
		_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, min(seconds, 1))
		if seconds > 0 {
			_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, seconds)
		}
	})
	return before
}

// silence is how long no segment has come from the peer, with or without data; known is false
// where the kernel cannot tell.
func silence(nc net.Conn) (d time.Duration, known bool) {
	t, ok := nc.(*net.TCPConn)
	if !ok {
		return 0, false
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return 0, false
	}
	_ = raw.Control(func(fd uintptr) {
		if i, err := unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
			d, known = time.Duration(min(i.Last_ack_recv, i.Last_data_recv))*time.Millisecond, true
		}
	})
	return d, known
}

// closedByPeer tells whether the peer has closed or reset the connection, or we have closed it.
func closedByPeer(nc net.Conn) bool {
	sc, ok := nc.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return true
	}
	closed := false
	err = raw.Control(func(fd uintptr) {
		p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		_, err := unix.Poll(p, 0)
		closed = err == nil && p[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR) != 0
	})
	return closed || err != nil
}
