package listeners

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// occupy listens on the address of a door, before the door does.
func occupy(t *testing.T, network, address string) net.Listener {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

// freeTCP returns a loopback address that no other process takes, even after it was used and freed.
func freeTCP(t *testing.T) string {
	t.Helper()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// greets reports whether a connection to the door's address is accepted by the door.
func greets(t *testing.T, d *Door) bool {
	t.Helper()
	a := d.Addr()
	c, err := (&net.Dialer{}).DialContext(t.Context(), a.Network(), a.String())
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	got, err := d.Accept()
	if err != nil {
		return false
	}
	return got.Close() == nil
}

// TestTakenPort: a door whose port is taken is named in a finding, and opens once the port is free.
// The other doors are open meanwhile.
func TestTakenPort(t *testing.T) {
	for _, network := range []string{"tcp", "unix"} {
		t.Run(network, func(t *testing.T) {
			s := newSite(t)
			address := map[string]string{"tcp": freeTCP(t), "unix": filepath.Join(s.dir, "mqtt.sock")}[network]
			other := occupy(t, network, address)
			address = other.Addr().String()
			open := map[string]func(string) func() (net.Listener, error){"tcp": TCP, "unix": Unix}[network]
			taken := s.set.Add(Spec{
				Name:    "mqtt",
				Warning: "listener-mqtt",
				Level:   Failing,
				Address: address,
				Open:    open(address),
			})
			if isOpen(taken) || taken.Addr().String() != address {
				t.Fatalf("open %v at %s", isOpen(taken), taken.Addr())
			}
			select {
			case <-s.set.Serving():
				t.Error("a gateway without an open door says that it serves")
			default:
			}
			free := s.add(nil)
			if !greets(t, free) {
				t.Error("the other door does not serve")
			}
			<-s.set.Serving()
			f := s.last["listener-mqtt"]
			if !f.Raised || f.Level != Failing || !strings.Contains(f.Text, address+" is taken by another process") || s.raised("door") {
				t.Errorf("%+v, door: %+v", f, s.last["door"])
			}
			s.round(Poll)
			if isOpen(taken) || !s.raised("listener-mqtt") {
				t.Error("open although the port is taken")
			}
			if err := other.Close(); err != nil {
				t.Fatal(err)
			}
			s.round(Poll)
			if s.raised("listener-mqtt") || !greets(t, taken) {
				t.Errorf("after the port became free: %+v", s.last["listener-mqtt"])
			}
		})
	}
}

// TestStaleUnixSocket: the socket file of a process that died is replaced.
func TestStaleUnixSocket(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.dir, "mqtt.sock")
	l := occupy(t, "unix", path)
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	d := s.set.Add(Spec{Name: "unix", Warning: "listener-unix", Address: path, Open: Unix(path)})
	if !greets(t, d) {
		t.Errorf("%+v", s.last["listener-unix"])
	}
}

// TestDirectoryInTheWay: a file that is no socket is not removed.
func TestDirectoryInTheWay(t *testing.T) {
	s := newSite(t)
	path := filepath.Join(s.dir, "data")
	s.put("data", []byte("kept"))
	d := s.set.Add(Spec{Name: "unix", Warning: "listener-unix", Address: path, Open: Unix(path)})
	if isOpen(d) || !s.raised("listener-unix") {
		t.Errorf("%+v", s.last["listener-unix"])
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "kept" {
		t.Errorf("the file: %q, %v", b, err)
	}
}

// TestRunTriesAgain: Run opens a door once its port is free, without any other call.
func TestRunTriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var free atomic.Bool
		set := New(time.Now, func([]Finding) {})
		d := set.Add(Spec{Name: "x", Warning: "x", Open: func() (net.Listener, error) {
			if !free.Load() {
				return nil, errors.New("taken")
			}
			return TCP("127.0.0.1:0")()
		}})
		go func() { _ = set.Run(t.Context()) }()
		time.Sleep(10*Poll + time.Millisecond)
		if isOpen(d) {
			t.Fatal("open out of nothing")
		}
		free.Store(true)
		time.Sleep(Poll)
		synctest.Wait()
		if !isOpen(d) {
			t.Error("not tried again")
		}
		_ = d.Close()
	})
}

// TestClosedBeforeItOpened: Close ends an Accept that waits for the socket, and no socket is opened
// afterwards.
func TestClosedBeforeItOpened(t *testing.T) {
	s := newSite(t)
	address := freeTCP(t)
	other := occupy(t, "tcp", address)
	d := s.set.Add(Spec{Name: "mqtt", Warning: "listener-mqtt", Address: address, Open: TCP(address)})
	accepted := make(chan error, 1)
	go func() {
		_, err := d.Accept()
		accepted <- err
	}()
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-accepted; !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
	if err := other.Close(); err != nil {
		t.Fatal(err)
	}
	s.round(Poll)
	if isOpen(d) {
		t.Error("a closed door opened")
	}
	occupy(t, "tcp", address) // nobody else has it
}

// TestClosedWhileItOpens: a socket that is opened while its door is closed is closed, too.
func TestClosedWhileItOpens(t *testing.T) {
	s := newSite(t)
	var d *Door
	var late net.Listener
	d = s.set.Add(Spec{Name: "x", Warning: "x", Open: func() (net.Listener, error) {
		if d == nil {
			return nil, errors.New("taken")
		}
		_ = d.Close()
		var err error
		late, err = TCP("127.0.0.1:0")()
		return late, err
	}})
	s.round(Poll)
	if isOpen(d) {
		t.Error("a closed door opened")
	}
	if _, err := late.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("accept: %v", err)
	}
}
