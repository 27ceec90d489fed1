package admin_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/message"
)

// changing are all routes that change something, each with a body that it would take.
var changing = map[string]string{
	"POST /v1/outbox":      `{"action":"purge","all":true}`,
	"POST /v1/echo":        `{}`,
	"POST /v1/sync":        `{"full":true}`,
	"POST /v1/disconnect":  `{"principal":"device:d1"}`,
	"POST /v1/reset-clock": ``,
}

// changes are the Sources of the routes in changing. They count what is changed.
type changes struct{ made atomic.Int32 }

func (c *changes) List(context.Context, admin.OutboxQuery) (admin.OutboxReport, error) {
	return admin.OutboxReport{}, nil
}
func (c *changes) Peek(context.Context, admin.OutboxQuery) ([]admin.OutboxMessage, error) {
	return nil, nil
}
func (c *changes) Parked(context.Context, admin.OutboxQuery) ([]admin.OutboxMessage, error) {
	return nil, nil
}
func (c *changes) Act(context.Context, admin.OutboxRequest) (admin.OutboxResult, error) {
	c.made.Add(1)
	return admin.OutboxResult{}, nil
}

func (c *changes) plug(o *admin.Options) {
	o.Sources.Outbox = c
	o.Sources.Sync = func(context.Context, admin.SyncRequest) (admin.SyncResult, error) {
		c.made.Add(1)
		return admin.SyncResult{}, nil
	}
	o.Sources.Echo = func(context.Context) (admin.EchoResult, error) {
		c.made.Add(1)
		return admin.EchoResult{}, nil
	}
	o.Sources.Disconnect = func(context.Context, admin.DisconnectRequest) (admin.DisconnectResult, error) {
		c.made.Add(1)
		return admin.DisconnectResult{}, nil
	}
	o.Sources.ResetClock = func(context.Context) (admin.ClockResult, error) {
		c.made.Add(1)
		return admin.ClockResult{}, nil
	}
}

// TestEveryChangingRouteIsListed: a route that is added later needs a body in changing, so that the
// tests below ask for it too.
func TestEveryChangingRouteIsListed(t *testing.T) {
	for _, route := range admin.Routes() {
		_, listed := changing[route]
		if changes := !strings.HasPrefix(route, "GET "); changes != listed {
			t.Errorf("%s: changes something %v, listed %v", route, changes, listed)
		}
	}
}

// TestOnlyOperatorsChange asks for every change as root, as the daemon's user, as an operator and as a
// process of none of them, which the kernel names.
func TestOnlyOperatorsChange(t *testing.T) {
	root := os.Getuid() == 0
	stranger := 65534
	if !root {
		stranger = os.Getuid() // nobody but root may act as another user
	}
	for _, c := range []struct {
		who       string
		uid       int
		owner     int
		operators []int
		want      int
	}{
		{"root", 0, 100, nil, http.StatusOK},
		{"the daemon's user", stranger, stranger, nil, http.StatusOK},
		{"an operator", stranger, 100, []int{7, stranger}, http.StatusOK},
		{"nobody of them", stranger, 100, []int{7, stranger + 1}, http.StatusForbidden},
	} {
		t.Run(c.who, func(t *testing.T) {
			if c.uid == 0 && !root {
				t.Skip("needs root")
			}
			made := &changes{}
			f := start(t, func(o *admin.Options) {
				o.Owner, o.Operators = c.owner, c.operators
				made.plug(o)
			})
			open(t, f.socket)
			asked := 0
			for route, body := range changing {
				asked++
				if code := askAs(t, c.uid, f.socket, route, body); code != c.want {
					t.Errorf("%s: %d, want %d", route, code, c.want)
				}
				var rec message.AuditRecord
				select { // it was made before the answer
				case rec = <-f.audited:
				default:
				}
				if rec.Allowed != (c.want == http.StatusOK) || rec.Principal != fmt.Sprintf("uid:%d", c.uid) || rec.Topic != route {
					t.Errorf("%s: audited %+v", route, rec)
				}
			}
			if code := askAs(t, c.uid, f.socket, "GET /v1/status", ""); code != http.StatusOK {
				t.Errorf("reads: %d", code)
			}
			if n := int(made.made.Load()); n != asked && c.want == http.StatusOK || n != 0 && c.want != http.StatusOK {
				t.Errorf("%d of %d changes were made", n, asked)
			}
		})
	}
}

// TestReadersChangeNothing: who may only read is refused each change by name, and on the loopback
// listener, where nobody is known, the routes do not exist.
func TestReadersChangeNothing(t *testing.T) {
	made := &changes{}
	f := start(t, made.plug)
	for route, body := range changing {
		if code, text := send(t, http.DefaultClient, f.page, route, body, ""); code != http.StatusNotFound ||
			!strings.Contains(text, "there is nothing at "+route) {
			t.Errorf("loopback, %s: %d %s", route, code, text)
		}
	}
	for route, body := range changing {
		page := startIdentified(t, admin.Caller{Name: "user:x", May: admin.Read})
		if code, text := send(t, http.DefaultClient, page, route, body, ""); code != http.StatusForbidden ||
			!strings.Contains(text, "not change anything") {
			t.Errorf("a reader, %s: %d %s", route, code, text)
		}
	}
	if n := made.made.Load(); n > 0 {
		t.Errorf("%d changes were made", n)
	}
}

// TestPagesOfOthersReadNothing: a browser sends Sec-Fetch-Site with every request. A page of the same
// site, such as another port of localhost, is a stranger's like any other; only the page itself and
// what a person typed may read.
func TestPagesOfOthersReadNothing(t *testing.T) {
	f := start(t, nil)
	for site, want := range map[string]int{
		"cross-site": http.StatusForbidden, "same-site": http.StatusForbidden,
		"same-origin": http.StatusOK, "none": http.StatusOK, "": http.StatusOK,
	} {
		if code, _ := send(t, http.DefaultClient, f.page, "GET /v1/status", "", site); code != want {
			t.Errorf("%q: %d, want %d", site, code, want)
		}
	}
}

// open lets every user reach a socket, as its directory and group do for operators.
func open(t *testing.T, socket string) {
	t.Helper()
	//nolint:gosec // the test is about what the server does with whoever reaches it
	if err := os.Chmod(socket, 0o666); err != nil {
		t.Fatal(err)
	}
	//nolint:gosec // see above
	if err := os.Chmod(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
}

// askAs sends one request over the socket, connected as a user of this machine.
func askAs(t *testing.T, uid int, socket, route, body string) int {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(context.Context, string, string) (net.Conn, error) {
			return dialAs(uid, socket)
		},
	}}
	code, _ := send(t, client, "http://gatehouse", route, body, "")
	return code
}

// dialAs connects with the effective uid of another user. The kernel takes it from the thread that
// connects, and only this thread changes it.
func dialAs(uid int, socket string) (net.Conn, error) {
	if uid == os.Getuid() {
		return net.Dial("unix", socket)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), socket)
	defer file.Close()
	runtime.LockOSThread() // unlocked only after the thread is root again; otherwise it ends with its goroutine
	const same = ^uintptr(0)
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, uintptr(uid), same); e != 0 {
		return nil, e
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: socket})
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, same, 0, same); e != 0 {
		return nil, e
	}
	runtime.UnlockOSThread()
	if err != nil {
		return nil, err
	}
	return net.FileConn(file)
}

func send(t *testing.T, client *http.Client, base, route, body, site string) (int, string) {
	t.Helper()
	method, path, _ := strings.Cut(route, " ")
	r, err := http.NewRequestWithContext(t.Context(), method, base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if site != "" {
		r.Header.Set("Sec-Fetch-Site", site)
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(text)
}
