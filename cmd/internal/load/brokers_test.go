package load_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gatehouse/gatehouse/cmd/internal/e2e"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/freeport"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// open lets everybody do everything whose password is not "wrong".
type open struct{}

func (open) Authenticate(_ context.Context, c *principal.Credentials) (*principal.Principal, error) {
	if string(c.Password) == "wrong" {
		return nil, &principal.Refusal{Code: message.BadUserNameOrPassword, Reason: "wrong-key"}
	}
	return &principal.Principal{Kind: principal.User, Key: "user:" + c.ClientID, Name: c.ClientID}, nil
}

var yes = message.Verdict{Allowed: true, Reason: "granted"}

func (open) Open(*principal.Principal) broker.Rights          { return open{} }
func (open) Connect() message.Verdict                         { return yes }
func (open) Publish(string, *message.Message) message.Verdict { return yes }
func (open) Will(string) message.Verdict                      { return yes }
func (open) Deliver(*message.Message) bool                    { return true }
func (open) Audit(message.AuditRecord)                        {}
func (open) Subscribe(filter string) message.Verdict {
	if strings.HasPrefix(filter, "secret") {
		return message.Verdict{Reason: "no-assignment", Code: message.NotAuthorized}
	}
	return yes
}

// inProcess is this project's own broker.
func inProcess(t *testing.T) string {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b, err := broker.New(broker.Options{
		Authenticator: open{},
		Access:        open{},
		Auditor:       open{},
		Listeners:     []broker.Listener{{Name: "test", Listener: nl}},
		Log:           slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	<-b.Ready()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return nl.Addr().String()
}

// mosquitto is Debian's; it knows one user, a with the password b.
func mosquitto(t *testing.T) string {
	port, err := freeport.Get()
	if err != nil {
		t.Fatal(err)
	}
	dir := e2e.ShortDir(t)
	passwords := filepath.Join(dir, "passwords")
	p := e2e.Start(t, nil, "mosquitto_passwd", "-c", "-b", passwords, "a", "b")
	if p.Exit(t) != 0 {
		t.Fatal(p.Text())
	}
	conf := write(t, filepath.Join(dir, "conf"), fmt.Sprintf(
		"listener %d 127.0.0.1\npassword_file %s\nallow_anonymous true\nmax_queued_messages 0\nuser root\nlog_dest stderr\n",
		port, passwords))
	e2e.Start(t, nil, "mosquitto", "-c", conf).Line(t, "running")
	return fmt.Sprintf("127.0.0.1:%d", port)
}

func clients(kind string, n int) []load.Client {
	list := make([]load.Client, n)
	for i := range list {
		list[i].ID = fmt.Sprintf("%s-%d", kind, i)
	}
	return list
}

func exchange(address string, level byte, publishers, subscribers int) *load.Exchange {
	return &load.Exchange{
		Target:      load.Target{Network: "tcp", Address: address, Level: level, Timeout: time.Minute, KeepAlive: time.Minute},
		Publishers:  clients("p", publishers),
		Subscribers: clients("s", subscribers),
		Topic:       func(_ int, c load.Client) string { return "bench/" + c.ID },
		Filter:      "bench/+",
		Payload:     64,
		Window:      10,
		Lead:        50,
		Count:       100,
		Drain:       e2e.Patience,
	}
}

// TestHonestBrokersLoseNothing: each QoS, both versions, in and out, against mosquitto and our own broker.
func TestHonestBrokersLoseNothing(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"mosquitto": mosquitto, "gatehouse": inProcess} {
		t.Run(name, func(t *testing.T) {
			address := start(t)
			for _, level := range []byte{4, 5} {
				for qos := range byte(3) {
					for _, shape := range [][2]int{{5, 1}, {1, 5}} {
						t.Run(fmt.Sprintf("MQTT %d, QoS %d, %d to %d", level, qos, shape[0], shape[1]), func(t *testing.T) {
							x := exchange(address, level, shape[0], shape[1])
							x.QoS, x.SubscribeQoS = qos, qos
							whole(t, x, int64(shape[0]), int64(shape[1]))
						})
					}
				}
				t.Run(fmt.Sprintf("MQTT %d, request", level), func(t *testing.T) {
					x := exchange(address, level, 3, 1)
					x.QoS, x.SubscribeQoS = 1, 1
					x.Reply = func(_ int, c load.Client) string { return "reply/" + c.ID }
					whole(t, x, 3, 1)
				})
			}
		})
	}
}

func whole(t *testing.T, x *load.Exchange, publishers, subscribers int64) {
	t.Helper()
	got, err := x.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	sent := publishers * int64(x.Count)
	want := load.Result{Sent: sent, Expected: sent * subscribers, Received: sent * subscribers}
	if x.QoS > 0 {
		want.Acknowledged = sent
	}
	check(t, got, &want)
	if got.DeliveryMicros == nil || got.DeliveryMicros.Count != want.Received {
		t.Errorf("latencies: %+v, want %d of them", got.DeliveryMicros, want.Received)
	}
}

// TestRefusedByName: who is refused, and why, is the error.
func TestRefusedByName(t *testing.T) {
	for name, start := range map[string]func(*testing.T) string{"mosquitto": mosquitto, "gatehouse": inProcess} {
		t.Run(name, func(t *testing.T) {
			address := start(t)
			for level, want := range map[byte]byte{4: 5, 5: message.NotAuthorized} {
				x := exchange(address, level, 1, 0)
				x.Publishers[0].User, x.Publishers[0].Password = "a", "wrong"
				_, err := x.Run(t.Context())
				var refused *load.Refused
				if !errors.As(err, &refused) || !strings.HasPrefix(err.Error(), "p-0: ") {
					t.Errorf("MQTT %d: %v", level, err)
				} else if refused.Code != want && refused.Code != 4 && refused.Code != message.BadUserNameOrPassword {
					t.Errorf("MQTT %d: code %#x", level, refused.Code)
				}
			}
		})
	}
	x := exchange(inProcess(t), 5, 0, 1)
	x.Filter = "secret/#"
	if _, err := x.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "the subscription to secret/#: not authorized (0x87)") {
		t.Errorf("a refused subscription: %v", err)
	}
}

func TestWrongInput(t *testing.T) {
	x := exchange("127.0.0.1:1", 4, 1, 0)
	if _, err := x.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
	x.Payload = 10
	if _, err := x.Run(t.Context()); err == nil || !strings.Contains(err.Error(), "at least 24") {
		t.Errorf("a payload too small to be numbered: %v", err)
	}
	for _, server := range []string{"http://x", "127.0.0.1:1883", "mqtt://", "unix:", "mqtt://x:port"} {
		if _, _, _, _, err := load.ParseServer(server); err == nil {
			t.Errorf("%q is taken for a broker", server)
		}
	}
}

// TestStorm: connections are counted by what became of them.
func TestStorm(t *testing.T) {
	address := inProcess(t)
	target := exchange(address, 4, 0, 0).Target
	who := clients("c", 4)
	who[3].Password, who[3].User = "wrong", "u"
	s := load.Storm{Target: target, Clients: who, Count: 8, Parallel: 3}
	got, err := s.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if got.Attempted != 8 || got.Accepted != 6 || len(got.Failed) != 1 || got.ConnectMicros.Count != 6 {
		t.Errorf("%+v", got)
	}
	s = load.Storm{Target: target, Clients: who[:3], Count: 3, Parallel: 3, Hold: time.Millisecond}
	if got, err := s.Run(t.Context()); err != nil || got.Accepted != 3 || got.Closed != 0 {
		t.Errorf("held: %+v, %v", got, err)
	}
	if s.Count = 4; true {
		if _, err := s.Run(t.Context()); err == nil {
			t.Error("one client id was held twice")
		}
	}
}
