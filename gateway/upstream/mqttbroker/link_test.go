package mqttbroker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/freeport"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/topic/mapping"
	"github.com/gatehouse/gatehouse/gateway/upstream"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn"
	"github.com/gatehouse/gatehouse/gateway/upstream/mqttconn/leaktest"
)

func TestMain(m *testing.M) { leaktest.Main(m) }

// realBroker is the Debian broker on a free loopback port.
type realBroker struct {
	t    *testing.T
	dir  string
	port int
	cmd  *exec.Cmd
}

func newRealBroker(t *testing.T) *realBroker { return newRealBrokerWith(t, "") }

// newRealBrokerWith has further listeners.
func newRealBrokerWith(t *testing.T, listeners string) *realBroker {
	t.Helper()
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	b := &realBroker{t: t, dir: t.TempDir(), port: port}
	conf := listeners + fmt.Sprintf(
		"listener %d 127.0.0.1\nallow_anonymous true\npersistence true\npersistence_location %s/\n"+
			"max_queued_messages 0\nmax_inflight_messages 0\nuser root\n",
		b.port,
		b.dir,
	)
	if err := os.WriteFile(filepath.Join(b.dir, "m.conf"), []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.kill)
	b.start()
	return b
}

func (b *realBroker) url() string { return fmt.Sprintf("mqtt://127.0.0.1:%d", b.port) }

func (b *realBroker) start() {
	b.t.Helper()
	b.cmd = exec.Command(find(b.t, "mosquitto"), "-c", filepath.Join(b.dir, "m.conf"))
	if err := b.cmd.Start(); err != nil {
		b.t.Fatalf("mosquitto: %v", err)
	}
	eventually(b.t, "mosquitto listens", func() bool {
		c, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", b.port))
		if err != nil {
			return false
		}
		_ = c.Close()
		return true
	})
}

// end stops the broker as an operator does: it saves what it has acknowledged,
// so that whatever is missing afterwards is our fault and not the broker's.
func (b *realBroker) end() {
	_ = b.cmd.Process.Signal(os.Interrupt)
	_ = b.cmd.Wait()
	b.cmd = nil
}

func (b *realBroker) kill() {
	if b.cmd != nil {
		_ = b.cmd.Process.Kill()
		_ = b.cmd.Wait()
		b.cmd = nil
	}
}

// pub publishes at QoS 1, whatever the arguments say further.
func (b *realBroker) pub(topic, payload string, args ...string) {
	b.t.Helper()
	args = append([]string{"-p", strconv.Itoa(b.port), "-q", "1", "-t", topic, "-m", payload}, args...)
	ctx, cancel := context.WithTimeout(b.t.Context(), time.Minute) // it waits for an answer as long as none comes
	defer cancel()
	if out, err := exec.CommandContext(ctx, find(b.t, "mosquitto_pub"), args...).CombinedOutput(); err != nil {
		b.t.Fatalf("mosquitto_pub: %v %s", err, out)
	}
}

// find fails by name: a missing broker must not look like a passed test.
func find(t *testing.T, name string) string {
	t.Helper()
	for _, dir := range []string{"", "/usr/sbin/", "/usr/bin/"} {
		if p, err := exec.LookPath(dir + name); err == nil {
			return p
		}
	}
	t.Fatalf("%s is not installed: this test needs the real one (Debian: apt-get install mosquitto mosquitto-clients)", name)
	return ""
}

// patience is for what must come, on the busiest machine.
const patience = 2 * time.Minute

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		if f() {
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("not in %v: %s", patience, what)
}

var asUpstream = &principal.Principal{Kind: principal.Upstream, Key: "upstream:test", Name: "test"}

func options(b *realBroker) Options {
	return Options{URL: b.url(), ClientID: "gw", Principal: asUpstream, Bridge: false,
		Down:   []mapping.Rule{{Filter: "site/down/#", From: "site/down/", To: "commands/", QoS: 1}},
		Routes: []upstream.Route{{Name: "all", Topics: []mapping.Rule{{Filter: "#", To: "site/up/", QoS: 1}}}}}
}

func run(t *testing.T, f func(context.Context) error) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	once := sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(once)
	return once
}

func TestDownIsMappedGuardedAndHandedOver(t *testing.T) {
	b := newRealBroker(t)
	o := options(b)
	o.Down = append(o.Down, mapping.Rule{Filter: "evil/#", From: "evil/", QoS: 1})
	got := make(chan *message.Message, 10)
	o.Receive = func(m *message.Message, done func(error)) { got <- m; done(nil) }
	l, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	run(t, l.Run)
	eventually(t, "link up", func() bool { return l.Status().Up })
	for _, topic := range []string{
		"evil/$SYS/x", "evil/spaces/x/devices/y/events", "evil/deviceupdate/z", "evil/registry/a",
		"evil/$iothub/twin/res/200/",
	} {
		b.pub(topic, "bad")
	}
	b.pub("site/down/lamp/1", "on")
	select {
	case m := <-got:
		if m.Topic != "commands/lamp/1" || string(m.Payload) != "on" || m.Publisher != asUpstream || m.QoS != 1 {
			t.Errorf("%+v", m)
		}
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	if n := l.Status().Ignored["reserved-topic"]; n != 5 {
		t.Errorf("%d ignored for reserved topics, want 5", n)
	}
}

func TestUnacknowledgedCommandComesAgain(t *testing.T) {
	b := newRealBroker(t)
	o := options(b)
	first := make(chan struct{})
	var mu sync.Mutex
	n := 0
	o.Receive = func(_ *message.Message, done func(error)) {
		mu.Lock()
		defer mu.Unlock()
		if n++; n == 1 {
			done(errors.New("the disk is full"))
			close(first)
			return
		}
		done(nil)
	}
	l, _ := New(o)
	stop := run(t, l.Run)
	eventually(t, "link up", func() bool { return l.Status().Up })
	b.pub("site/down/x", "1")
	<-first
	stop()
	l, _ = New(o)
	run(t, l.Run)
	eventually(t, "it came again", func() bool { mu.Lock(); defer mu.Unlock(); return n >= 2 })
}

func TestLoopsAndMistakesAreRefused(t *testing.T) {
	base := Options{URL: "mqtts://h", ClientID: "gw", Principal: asUpstream}
	for name, tc := range map[string]struct {
		change func(*Options)
		ok     bool
	}{
		"plain":        {func(*Options) {}, true},
		"url":          {func(o *Options) { o.URL = "http://x" }, false},
		"no principal": {func(o *Options) { o.Principal = nil }, false},
		"same topics":  {func(o *Options) { o.Down = []mapping.Rule{{Filter: "#"}}; o.Routes = []upstream.Route{{Name: "r"}} }, false},
		"captured": {func(o *Options) {
			o.Down = []mapping.Rule{{Filter: "a/+/c"}}
			o.Routes = []upstream.Route{{Name: "r", Topics: []mapping.Rule{{Filter: "#", Topic: "a/{device}/c"}}}}
		}, false},
		"apart": {func(o *Options) {
			o.Down = []mapping.Rule{{Filter: "b/#"}}
			o.Routes = []upstream.Route{{Name: "r", Topics: []mapping.Rule{{Filter: "#", Topic: "a/{topic}"}}}}
		}, true},
		"bridge": {func(o *Options) {
			o.Bridge = true
			o.Down = []mapping.Rule{{Filter: "#"}}
			o.Routes = []upstream.Route{{Name: "r"}}
		}, true},
		"strip":         {func(o *Options) { o.Down = []mapping.Rule{{Filter: "a/#", From: "b/"}} }, false},
		"reserved":      {func(o *Options) { o.Down = []mapping.Rule{{Filter: "a/#", To: "$SYS/"}} }, false},
		"bad filter":    {func(o *Options) { o.Down = []mapping.Rule{{Filter: "a#"}} }, false},
		"reserved bare": {func(o *Options) { o.Down = []mapping.Rule{{Filter: "a/#", To: "spaces"}} }, false},
	} {
		o := base
		tc.change(&o)
		if _, err := New(o); (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestProbeDecides puts a proxy in front that swallows the probe: a socket that is open is not a link that is up.
func TestProbeDecides(t *testing.T) {
	b := newRealBroker(t)
	o := options(b)
	o.ProbeTopic = "probe/here"
	swallowed := make(chan struct{}, 1)
	o.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		return &swallow{c, swallowed}, err
	}
	l, _ := New(o)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	connected := make(chan error, 1)
	go func() {
		conn, err := l.connect(ctx)
		if err == nil {
			conn.Close()
		}
		connected <- err
	}()
	<-swallowed
	select {
	case err := <-connected:
		t.Fatalf("did not wait for the probe: %v", err)
	case <-time.After(100 * time.Millisecond): // the time in which it would be wrong; nothing waits for it
	}
	cancel()
	if err := <-connected; err == nil {
		t.Fatal("connected without a probe")
	}
	if l.Status().Up {
		t.Error("up without a probe")
	}
}

// swallow drops every PUBLISH to the probe topic.
type swallow struct {
	net.Conn
	swallowed chan struct{}
}

func (s *swallow) Write(b []byte) (int, error) {
	if len(b) > 0 && b[0]>>4 == 3 && bytes.Contains(b, []byte("probe/here")) {
		select {
		case s.swallowed <- struct{}{}:
		default:
		}
		return len(b), nil
	}
	return s.Conn.Write(b)
}

// reader subscribes at the broker with a persistent session and keeps what comes, in order.
type reader struct {
	mu  sync.Mutex
	got map[string][]string
}

func (r *reader) run(ctx context.Context, port int) error {
	for ctx.Err() == nil {
		c, err := mqttconn.Connect(ctx, mqttconn.Options{ClientID: "reader", Dial: func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		}, OnMessage: func(m mqttconn.Message) {
			device, payload, _ := strings.Cut(string(m.Payload), " ")
			r.mu.Lock()
			r.got[device] = append(r.got[device], payload)
			r.mu.Unlock()
			m.Ack()
		}})
		if err != nil {
			<-time.After(20 * time.Millisecond)
			continue
		}
		if _, err := c.Subscribe(ctx, "site/up/#"); err == nil {
			select {
			case <-c.Done():
			case <-ctx.Done():
			}
		}
		c.Close()
	}
	return nil
}

// missing are the acknowledged messages that never came; disorder names a device whose first deliveries came out of order.
func (r *reader) check(acked map[string][]int) (missing int, disorder string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for device, list := range acked {
		seen := map[int]bool{}
		last := -1
		for _, p := range r.got[device] {
			n, _ := strconv.Atoi(p)
			if seen[n] {
				continue // at least once
			}
			if n < last {
				disorder = fmt.Sprintf("%s: %d after %d", device, n, last)
			}
			seen[n] = true
			last = n
		}
		for _, n := range list {
			if !seen[n] {
				missing++
			}
		}
	}
	return missing, disorder
}
