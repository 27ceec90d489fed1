package mqttconn

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

type duplex struct {
	net.Conn
	io.Reader
}

func (w duplex) Read(p []byte) (int, error) { return w.Reader.Read(p) }

var connack = []byte{0x20, 2, 0, 0}

func through(b []byte, codes int32) ([]byte, error) {
	g := newGuard(duplex{nil, bytes.NewReader(b)}, 1000)
	g.codes.Store(codes)
	out, err := io.ReadAll(g)
	return out, err
}

func TestGuardLetsSoundFramesThrough(t *testing.T) {
	in := bytes.Clone(connack)
	in = append(in, 0x40, 2, 0, 1, 0x90, 3, 0, 2, 1, 0xd0, 0, 0xb0, 2, 0, 3)
	in = append(in, 0x30, 5, 0, 3, 'a', '/', 'b', 0x32, 8, 0, 3, 'a', '/', 'b', 0, 9, 'x')
	if out, err := through(in, 1); err != nil || !bytes.Equal(in, out) {
		t.Errorf("%x, %v", out, err)
	}
}

func TestGuardStopsHostileFrames(t *testing.T) {
	for name, frame := range map[string][]byte{
		"huge announcement":    {0x30, 0xff, 0xff, 0xff, 0x7f},
		"endless length":       {0x30, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f},
		"second connack":       {0x20, 2, 0, 0},
		"suback too long":      {0x90, 4, 0, 1, 0, 0},
		"suback too short":     {0x90, 2, 0, 1},
		"suback bad code":      {0x90, 3, 0, 1, 7},
		"puback too long":      {0x40, 3, 0, 1, 0},
		"puback id 0":          {0x40, 2, 0, 0},
		"puback flags":         {0x41, 2, 0, 1},
		"publish qos 2":        {0x34, 7, 0, 3, 'a', '/', 'b', 0, 1},
		"publish qos 3":        {0x36, 7, 0, 3, 'a', '/', 'b', 0, 1},
		"publish empty topic":  {0x30, 2, 0, 0},
		"publish long topic":   {0x30, 3, 0xff, 0xff, 'a'},
		"publish wildcard":     {0x30, 5, 0, 3, 'a', '/', '#'},
		"publish invalid utf8": {0x30, 3, 0, 1, 0xff},
		"publish without id":   {0x32, 5, 0, 3, 'a', '/', 'b'},
		"publish id 0":         {0x32, 7, 0, 3, 'a', '/', 'b', 0, 0},
		"pubrel":               {0x62, 2, 0, 1},
		"pingresp with body":   {0xd0, 1, 0},
		"connect from server":  {0x10, 0},
		"type 0":               {0x00, 0},
		"type 15":              {0xf0, 0},
	} {
		if _, err := through(append(connack[:4:4], frame...), 1); !errors.Is(err, ErrHostile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := through([]byte{0x40, 2, 0, 1}, 1); !errors.Is(err, ErrHostile) {
		t.Errorf("puback before connack: %v", err)
	}
	if _, err := through(append(connack[:4:4], 0x90, 3, 0, 1, 0), 0); !errors.Is(err, ErrHostile) {
		t.Errorf("suback that nobody asked for: %v", err)
	}
}

// server accepts one connection and plays a script: it reads CONNECT, sends
// CONNACK, then what play writes.
func server(t *testing.T, play func(c net.Conn)) func(context.Context) (net.Conn, error) {
	t.Helper()
	return func(context.Context) (net.Conn, error) {
		near, far := net.Pipe()
		go func() {
			defer func() { _ = far.Close() }()
			skip(far)
			_, _ = far.Write(connack)
			play(far)
		}()
		return near, nil
	}
}

// skip reads one packet and returns its first byte.
func skip(c net.Conn) byte {
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		return 0
	}
	n := int(head[1])
	if n >= 0x80 {
		var b [1]byte
		_, _ = io.ReadFull(c, b[:])
		n = n&0x7f | int(b[0])<<7
	}
	_, _ = io.CopyN(io.Discard, c, int64(n))
	return head[0]
}

func TestMalformedSubackEndsTheConnectionNotTheProcess(t *testing.T) {
	dial := server(t, func(c net.Conn) {
		skip(c)
		_, _ = c.Write([]byte{0x90, 6, 0, 1, 0, 0, 0, 0}) // four codes for one filter
		_, _ = io.Copy(io.Discard, c)
	})
	c, err := Connect(t.Context(), Options{Dial: dial, ClientID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Subscribe(t.Context(), "a"); err == nil {
		t.Error("subscribed")
	}
	<-c.Done()
	if !errors.Is(c.Err(), ErrHostile) {
		t.Errorf("ended by %v", c.Err())
	}
}

func TestPubackForASubscribeIsNoGrant(t *testing.T) {
	dial := server(t, func(c net.Conn) {
		skip(c)
		_, _ = c.Write([]byte{0x40, 2, 0, 1})
		_, _ = io.Copy(io.Discard, c)
	})
	c, err := Connect(t.Context(), Options{Dial: dial, ClientID: "x"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Subscribe(t.Context(), "a"); !errors.Is(err, ErrHostile) {
		t.Errorf("subscribe: %v", err)
	}
}

func TestOutstandingPublishesFailWithTheConnection(t *testing.T) {
	for _, clean := range []bool{true, false} {
		got := make(chan struct{})
		dial := server(t, func(c net.Conn) {
			for range 3 {
				skip(c)
			}
			_, _ = c.Write([]byte{0x40, 2, 0, 1}) // the first only
			close(got)
		})
		c, err := Connect(t.Context(), Options{Dial: dial, ClientID: "x", CleanSession: clean})
		if err != nil {
			t.Fatal(err)
		}
		results := make(chan error, 3)
		for range 3 {
			if err := c.Publish("t", 1, false, []byte("x"), func(err error) { results <- err }); err != nil {
				t.Fatal(err)
			}
		}
		<-got
		failed := 0
		for i := range 3 {
			select {
			case err := <-results:
				if err != nil {
					failed++
				}
			case <-time.After(time.Minute):
				t.Fatalf("clean %v: acknowledgement %d never came", clean, i)
			}
		}
		if failed < 2 {
			t.Errorf("clean %v: %d failed, two were never acknowledged", clean, failed)
		}
		if err := c.Publish("t", 1, false, nil, nil); err == nil {
			t.Error("published over a lost connection")
		}
		c.Close()
	}
}

func TestLongStringsAreRefusedHere(t *testing.T) {
	c, err := Connect(t.Context(), Options{ClientID: "x", Dial: server(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	long := strings.Repeat("x", 65536)
	if err := c.Publish(long, 1, false, nil, nil); !errors.Is(err, ErrString) {
		t.Errorf("topic: %v", err)
	}
	if _, err := c.Subscribe(t.Context(), long); !errors.Is(err, ErrString) {
		t.Errorf("filter: %v", err)
	}
	if _, err := Connect(t.Context(), Options{ClientID: "x", Username: long}); !errors.Is(err, ErrString) {
		t.Errorf("user name: %v", err)
	}
}

func TestAFloodIsDroppedAndCountedNotKept(t *testing.T) {
	const n = 5000
	sent := make(chan struct{})
	dial := server(t, func(c net.Conn) {
		frame := append([]byte{0x30, 0x80, 0x08, 0, 1, 't'}, make([]byte, 1021)...) // 1 KiB of QoS 0
		for range n {
			if _, err := c.Write(frame); err != nil {
				break
			}
		}
		close(sent)
		_, _ = io.Copy(io.Discard, c)
	})
	block := make(chan struct{})
	c, err := Connect(t.Context(), Options{ClientID: "x", Dial: dial, OnMessage: func(Message) { <-block }})
	if err != nil {
		t.Fatal(err)
	}
	<-sent
	for end := time.Now().Add(time.Minute); c.Dropped() < n-2*inboundMessages && time.Now().Before(end); {
		<-time.After(time.Millisecond)
	}
	if d := c.Dropped(); d < n-2*inboundMessages {
		t.Errorf("%d of %d dropped: the rest is kept somewhere", d, n)
	}
	if err := c.Err(); err != nil {
		t.Errorf("the connection ended: %v", err)
	}
	close(block)
	c.Close()
}

func TestConnectEndsWithItsContext(t *testing.T) {
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	go func() { _, _ = io.Copy(io.Discard, far) }() // never answers
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := Connect(ctx, Options{ClientID: "x", Dial: func(context.Context) (net.Conn, error) { return near, nil }})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func FuzzGuard(f *testing.F) {
	f.Add(append(connack[:4:4], 0x30, 5, 0, 3, 'a', '/', 'b'), int32(1))
	f.Add(append(connack[:4:4], 0x90, 3, 0, 1, 0), int32(1))
	f.Add([]byte{0x20, 2, 0, 0, 0x40, 2, 0, 1}, int32(0))
	f.Fuzz(func(t *testing.T, b []byte, codes int32) {
		out, _ := through(b, codes%8)
		if !bytes.HasPrefix(b, out) {
			t.Fatalf("the guard invented bytes")
		}
		readAll(t, out)
	})
}
