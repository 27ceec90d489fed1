package load

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker/frame"
)

// Target is the broker, and how it is reached.
type Target struct {
	Network, Address string      // "tcp" and host:port, or "unix" and a path
	TLS              *tls.Config // nil: plain
	Level            byte        // of the protocol: 4 is MQTT 3.1.1, 5 is MQTT 5
	// From are local addresses to connect from, in turn; zero: the kernel's
	// choice. A broker that limits what one address may do sees many.
	From    netip.Prefix
	Timeout time.Duration // for each connection: dial, handshake, CONNACK, SUBACK
	// KeepAlive is MQTT's, in whole seconds; 0: none.
	KeepAlive time.Duration
}

// ParseServer reads mqtt://HOST[:PORT], mqtts://HOST[:PORT] or unix:///PATH.
// secure tells whether TLS is asked for; host is the name in its certificate.
func ParseServer(server string) (network, address, host string, secure bool, err error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", "", "", false, err
	}
	port := "1883"
	switch u.Scheme {
	case "unix":
		if u.Path == "" {
			return "", "", "", false, errors.New("names no path: write unix:///path")
		}
		return "unix", u.Path, "", false, nil
	case "mqtts", "ssl", "tls":
		port, secure = "8883", true
	case "mqtt", "tcp":
	default:
		return "", "", "", false, errors.New("is no address of a broker: write mqtt://HOST:PORT, mqtts://HOST:PORT or unix:///PATH")
	}
	if u.Hostname() == "" {
		return "", "", "", false, errors.New("names no host")
	}
	if u.Port() != "" {
		port = u.Port()
	}
	return "tcp", net.JoinHostPort(u.Hostname(), port), u.Hostname(), secure, nil
}

// dial connects the n-th client up to the CONNACK.
func (t *Target) dial(ctx context.Context, c *Client, n int, h hello) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	d := net.Dialer{LocalAddr: t.local(n)}
	conn, err := d.DialContext(ctx, t.Network, t.Address)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	l, err := t.greet(conn, c, h)
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = conn.Close()
		if ctx.Err() != nil {
			err = fmt.Errorf("no CONNACK within %v: %w", t.Timeout, err)
		}
		return nil, err
	}
	return l, nil
}

func (t *Target) greet(conn net.Conn, c *Client, h hello) (*link, error) {
	if t.TLS != nil {
		conf := t.TLS.Clone()
		if c.Cert != nil {
			conf.Certificates = []tls.Certificate{*c.Cert}
		}
		conn = tls.Client(conn, conf) // the handshake is made by the first write
	}
	h.keepAlive = uint16(t.KeepAlive / time.Second)
	if _, err := conn.Write(appendConnect(nil, c, h, t.Level)); err != nil {
		return nil, err
	}
	l := newLink(conn, t.Level, t.KeepAlive)
	f, err := l.in.Next()
	if err != nil {
		return nil, fmt.Errorf("waiting for the CONNACK: %w", err)
	}
	w, err := parseConnack(f, t.Level)
	if err != nil {
		return nil, err
	}
	if w.code != 0 {
		return nil, &Refused{What: "the connection", Code: w.code, Level: t.Level}
	}
	l.receiveMaximum = w.receiveMaximum
	if w.keepAlive > 0 {
		l.keepAlive = time.Duration(w.keepAlive) * time.Second
	}
	return l, nil
}

// local is the address from which the n-th client connects.
func (t *Target) local(n int) net.Addr {
	if !t.From.IsValid() || t.Network != "tcp" {
		return nil
	}
	a := t.From.Masked().Addr()
	bits := a.BitLen() - t.From.Bits()
	if bits == 0 {
		return &net.TCPAddr{IP: a.AsSlice()}
	}
	b := a.AsSlice()
	places := uint64(1)<<min(bits, 31) - 1 // the network's own address is left out
	for i, rest := len(b)-1, uint64(n)%places+1; rest > 0; i, rest = i-1, rest>>8 {
		b[i] |= byte(rest)
	}
	return &net.TCPAddr{IP: b}
}

// bye is a DISCONNECT of a client.
var bye = []byte{frame.DISCONNECT << 4, 0}
