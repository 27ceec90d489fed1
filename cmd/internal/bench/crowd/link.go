package main

import (
	"context"
	"net"
	"net/netip"
	"time"
)

// chunk is what was read from one side of a link, and when it is due at the other.
type chunk struct {
	b   []byte
	due time.Time
}

// dial connects from an address over a link of that round trip. What is written arrives half of it
// later. As with TCP, the client may write one round trip after it began, and the server sees the
// connection, together with what was written first, half a round trip after that.
func dial(ctx context.Context, from netip.Addr, to string, trip time.Duration) (net.Conn, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: from.AsSlice()}}
	if trip == 0 {
		return d.DialContext(ctx, "tcp", to)
	}
	if err := pause(ctx, trip); err != nil {
		return nil, err
	}
	near, far := net.Pipe()
	up := listen(far, trip/2)
	go func() {
		var c net.Conn
		err := pause(ctx, trip/2)
		if err == nil {
			c, err = d.DialContext(ctx, "tcp", to)
		}
		if err != nil {
			_ = far.Close()
			for range up {
				continue
			}
			return
		}
		go carry(listen(c, trip/2), far, c)
		carry(up, c, far)
	}()
	return near, nil
}

// listen reads one side of a link until it ends.
func listen(from net.Conn, late time.Duration) <-chan chunk {
	way := make(chan chunk, 64)
	go func() {
		defer close(way)
		for {
			b := make([]byte, 16<<10)
			n, err := from.Read(b)
			if n > 0 {
				way <- chunk{b[:n], time.Now().Add(late)}
			}
			if err != nil {
				return
			}
		}
	}()
	return way
}

// carry writes what was read from one side to the other when it is due, and closes both when that has ended.
func carry(way <-chan chunk, to, from net.Conn) {
	for c := range way {
		time.Sleep(time.Until(c.due))
		if _, err := to.Write(c.b); err != nil {
			break
		}
	}
	_, _ = to.Close(), from.Close()
	for range way { // until the reader has seen that it is closed
		continue
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
