package systemd

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// childVariable makes this test binary the program that socket-activate starts.
const childVariable = "GATEHOUSE_TEST_SOCKETS"

func TestMain(m *testing.M) {
	if known := os.Getenv(childVariable); known != "" {
		child(strings.Split(known, ","))
		return
	}
	goleak.VerifyTestMain(m)
}

// child greets one client on every socket it was given, with what it found.
func child(known []string) {
	ls, err := Listeners(known...)
	if err != nil {
		fmt.Println("ERROR", strings.ReplaceAll(err.Error(), "\n", "; "))
		var se *SocketError
		if !errors.As(err, &se) || !errors.Is(err, ErrSocket) {
			fmt.Println("NOT A SOCKETERROR")
		}
		return
	}
	var names []string
	for name := range ls {
		names = append(names, name)
	}
	slices.Sort(names)
	fmt.Println("NAMES", strings.Join(names, ","), "LISTEN_FDS="+os.Getenv("LISTEN_FDS"))
	for _, name := range names {
		c, err := ls[name].Accept()
		if err != nil {
			fmt.Println("ACCEPT", err)
			return
		}
		_, _ = fmt.Fprintf(c, "hello from %s\n", name)
		_ = c.Close()
		_ = ls[name].Close()
	}
	fmt.Println("DONE")
}

func freeAddress(t *testing.T) string {
	t.Helper()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("127.0.0.1:%d", port)
}

// activate runs this binary under systemd-socket-activate and returns the
// lines that it prints.
func activate(t *testing.T, known string, args ...string) *bufio.Scanner {
	t.Helper()
	const tool = "/usr/bin/systemd-socket-activate"
	if _, err := os.Stat(tool); err != nil {
		t.Fatalf("%s is needed for this test: install the package systemd", tool)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool, append(append(args, "-E", childVariable+"="+known), self)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.WaitDelay = time.Second
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return bufio.NewScanner(out)
}

// dial waits until the tool listens.
func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		c, err := net.Dial(network, address)
		if err == nil {
			t.Cleanup(func() { _ = c.Close() })
			return c
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func line(t *testing.T, s *bufio.Scanner) string {
	t.Helper()
	if !s.Scan() {
		t.Fatal("the activated program said no more", s.Err())
	}
	return s.Text()
}

func TestActivated(t *testing.T) {
	dir, err := os.MkdirTemp("", "gh")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tcp, unix := freeAddress(t), filepath.Join(dir, "admin.sock")
	out := activate(t, "mqtts,admin,ws", "-l", tcp, "-l", unix, "--fdname=mqtts:admin")
	mqtts := dial(t, "tcp", tcp)
	if got := line(t, out); got != "NAMES admin,mqtts LISTEN_FDS=" {
		t.Errorf("child: %q, want both names and an environment cleaned for its children", got)
	}
	admin := dial(t, "unix", unix)
	for name, c := range map[string]net.Conn{"mqtts": mqtts, "admin": admin} {
		got, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || got != "hello from "+name+"\n" {
			t.Errorf("%s answered %q, %v", name, got, err)
		}
	}
	if got := line(t, out); got != "DONE" {
		t.Error(got)
	}
	if _, err := os.Stat(unix); err != nil {
		t.Error("closing the listener removed the socket file, which is systemd's")
	}
}

func TestActivatedWrongly(t *testing.T) {
	for name, tc := range map[string]struct{ fdname, want string }{
		"unknown name": {"mqtts:typo", `"typo": is not a listener of the configuration`},
		"same twice":   {"mqtts:mqtts", `"mqtts": is passed in twice`},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := freeAddress(t), freeAddress(t)
			out := activate(t, "mqtts,admin", "-l", a, "-l", b, "--fdname="+tc.fdname)
			dial(t, "tcp", a)
			if got := line(t, out); !strings.HasPrefix(got, "ERROR") || !strings.Contains(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	t.Run("datagram", func(t *testing.T) {
		a := freeAddress(t)
		out := activate(t, "mqtts", "--datagram", "-l", a, "--fdname=mqtts")
		deadline := time.Now().Add(time.Minute)
		got := make(chan string, 1)
		go func() {
			if out.Scan() {
				got <- out.Text()
			}
			close(got)
		}()
		for time.Now().Before(deadline) {
			c := dial(t, "udp", a)
			_, _ = c.Write([]byte("x")) // refused until the tool has bound it
			select {
			case s := <-got:
				if !strings.Contains(s, "is no listening stream socket") {
					t.Errorf("got %q", s)
				}
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
		t.Fatal("the datagram socket was never activated")
	})
}

func TestNotActivated(t *testing.T) {
	t.Setenv("LISTEN_FDS", "2")
	t.Setenv("LISTEN_PID", "1") // meant for another process
	ls, err := Listeners("mqtts")
	if err != nil || len(ls) != 0 {
		t.Errorf("%v, %v", ls, err)
	}
}
