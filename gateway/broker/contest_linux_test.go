package broker_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/broker"
)

// carried is a connection over another one, of TCP.
type carried struct {
	net.Conn
	tcp   net.Conn
	close func() error
}

func (c *carried) Close() error { return c.close() }

func dialTLS(addr string) (net.Conn, error) {
	c, err := tls.Dial("tcp", addr, &tls.Config{InsecureSkipVerify: true}) // the test's own server
	if err != nil {
		return nil, err
	}
	return &carried{Conn: c, tcp: c.NetConn(), close: c.NetConn().Close}, nil
}

func dialWebSocket(addr string) (net.Conn, error) {
	var tcp net.Conn
	dial := func(ctx context.Context, network, addr string) (nc net.Conn, err error) {
		tcp, err = (&net.Dialer{}).DialContext(ctx, network, addr)
		return tcp, err
	}
	ws, _, err := websocket.Dial(context.Background(), "ws://"+addr+"/mqtt", &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{DialContext: dial}},
		Subprotocols: []string{"mqtt"},
	})
	if err != nil {
		return nil, err
	}
	return &carried{websocket.NetConn(context.Background(), ws, websocket.MessageBinary), tcp, ws.CloseNow}, nil
}

// below is the TCP connection that carries nc.
func below(nc net.Conn) net.Conn {
	if c, ok := nc.(*carried); ok {
		return c.tcp
	}
	return nc
}

// cut makes the connection half-open: from now on the kernel drops whatever comes for it, before
// TCP sees it, so that the peer gets neither data nor an acknowledgement nor a reset.
func cut(t *testing.T, nc net.Conn) {
	t.Helper()
	raw, err := nc.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	drop := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K}} // keep 0 bytes of each packet
	var failed error
	err = raw.Control(func(fd uintptr) {
		failed = unix.SetsockoptSockFprog(int(fd), unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
			&unix.SockFprog{Len: 1, Filter: &drop[0]})
	})
	if err != nil || failed != nil {
		t.Fatal(err, failed)
	}
}

// A holder whose peer is gone without a word gives way at once, on every transport; one that is there
// and silent keeps its session.
func TestHalfOpenHolderGivesWay(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		listen func(*broker.Options)
		via    func(addr string) (net.Conn, error)
	}{
		"TCP":       {func(*broker.Options) {}, nil},
		"TLS":       {func(o *broker.Options) { o.Listeners[0].TLS = serverTLS(t) }, dialTLS},
		"WebSocket": {func(o *broker.Options) { o.Listeners[0].Kind = broker.WebSocket }, dialWebSocket},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := start(t, contested, c.listen)
			h.via = c.via
			holder := h.contest(5, "same")
			newcomer := h.arrive(5, "same")
			h.waiting(1)
			// By the end of this, the kernel's own time, a holder that does not answer has been probed after
			// a second of silence and was given one to answer. This one's kernel does answer, though its
			// client is silent.
			time.Sleep(3 * time.Second)
			if h.Stats().Waiting != 1 {
				t.Fatal("a silent holder lost its session")
			}
			cut(t, below(holder.Conn))
			if p := newcomer.ExpectType(2); p.Body[1] != 0 {
				t.Errorf("got %s", p)
			}
			if n := h.Stats().TakeOvers; n != 2 { // a holder that the kernel gave up was taken from nobody
				t.Errorf("%d take-overs: it was waited until the kernel itself ended the connection", n)
			}
		})
	}
}
