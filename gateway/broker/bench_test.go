package broker_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/broker/internal/rawclient"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
)

// granted is an Access without cost, so that the benchmark measures the broker.
type granted struct{}

func (granted) Open(*principal.Principal) broker.Rights { return granted{} }
func (granted) Connect() message.Verdict                { return message.Verdict{Allowed: true} }
func (granted) Publish(string, *message.Message) message.Verdict {
	return message.Verdict{Allowed: true}
}
func (granted) Will(string) message.Verdict      { return message.Verdict{Allowed: true} }
func (granted) Subscribe(string) message.Verdict { return message.Verdict{Allowed: true} }
func (granted) Deliver(*message.Message) bool    { return true }

func bench(b *testing.B) (*broker.Broker, string) {
	nl, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	br, err := broker.New(broker.Options{
		Authenticator: &names{},
		Access:        granted{},
		Log:           slog.New(slog.DiscardHandler),
		Listeners: []broker.Listener{
			{Name: "bench", Listener: nl, Limits: broker.Limits{RatePerAddress: 1e9, PerAddress: 1e6, Pending: 1e5}},
		},
	})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = br.Run(ctx) }()
	<-br.Ready()
	b.Cleanup(func() { cancel(); <-done })
	return br, nl.Addr().String()
}

func benchClient(b *testing.B, addr, id string) *rawclient.Client {
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = nc.Close() })
	c := &rawclient.Client{T: b, Conn: nc}
	c.Connect(rawclient.Connect{Level: 4, ID: id, User: id})
	return c
}

// skim reads n packets that are counted, and answers every QoS 1 delivery in batches.
func skim(r *bufio.Reader, n int, each func(first byte, body []byte)) error {
	buf := make([]byte, 4096)
	for range n {
		first, err := r.ReadByte()
		if err != nil {
			return err
		}
		size, shift := 0, 0
		for {
			v, err := r.ReadByte()
			if err != nil {
				return err
			}
			size |= int(v&0x7f) << shift
			shift += 7
			if v&0x80 == 0 {
				break
			}
		}
		if _, err := io.ReadFull(r, buf[:size]); err != nil {
			return err
		}
		each(first, buf[:size])
	}
	return nil
}

// BenchmarkFanIn: publishers with a window of 20 (QoS 1) or none (QoS 0) to
// one subscriber; 100 byte payloads. One operation is one message delivered.
func BenchmarkFanIn(b *testing.B) {
	for _, qos := range []byte{0, 1} {
		b.Run(fmt.Sprint("qos", qos), func(b *testing.B) {
			br, addr := bench(b)
			const publishers = 20
			each := b.N/publishers + 1
			sub := benchClient(b, addr, "sub")
			sub.Subscribe(1, "t/#", qos)
			payload := string(make([]byte, 100))
			var wg sync.WaitGroup
			b.ResetTimer()
			received := make(chan error, 1)
			got := 0
			go func() {
				var acks []byte
				r := bufio.NewReaderSize(sub.Conn, 64<<10)
				_ = sub.SetReadDeadline(timeZero)
				received <- skim(r, each*publishers, func(first byte, body []byte) {
					got++
					if first>>4 == 3 && first&6 == 2 {
						n := int(body[0])<<8 | int(body[1])
						acks = append(acks, 0x40, 2, body[2+n], body[3+n])
						if r.Buffered() < 120 || len(acks) > 1000 {
							_, _ = sub.Write(acks)
							acks = acks[:0]
						}
					}
				})
			}()
			for i := range publishers {
				p := benchClient(b, addr, fmt.Sprint("p", i))
				wg.Go(func() {
					topic := fmt.Sprint("t/", i)
					r := bufio.NewReader(p.Conn)
					for sent := 0; sent < each; {
						n := min(20, each-sent)
						var out []byte
						for k := range n {
							out = append(out, rawclient.PublishFrame(4, topic, payload, qos, uint16(k+1), 0)...)
						}
						_ = p.SetDeadline(timeZero)
						if _, err := p.Write(out); err != nil {
							b.Error(err)
							return
						}
						if qos > 0 {
							if err := skim(r, n, func(byte, []byte) {}); err != nil {
								b.Error(err)
								return
							}
						}
						sent += n
					}
				})
			}
			wg.Wait()
			quiet := 100 * time.Millisecond
			if qos > 0 {
				quiet = 5 * time.Second
			}
			var err error
			for last, done := uint64(0), false; !done; { // what was dropped or refused does not come: stop when nothing does any more
				select {
				case err = <-received:
					done = true
				case <-time.After(quiet):
					now := br.Stats().BytesOut
					if now == last && br.Stats().Received >= uint64(each*publishers) {
						_ = sub.SetReadDeadline(time.Now())
					}
					last = now
				}
			}
			if qos > 0 && err != nil {
				b.Errorf("%d of %d came: a full queue refuses, and this machine starves its reader: %v", got, each*publishers, err)
			}
			b.ReportMetric(float64(got)/b.Elapsed().Seconds(), "msg/s")
			b.ReportMetric(100*float64(each*publishers-got)/float64(each*publishers), "lost%")
		})
	}
}

// BenchmarkFanOut: one publisher to 50 subscribers, QoS 0. One operation is one delivery.
func BenchmarkFanOut(b *testing.B) {
	_, addr := bench(b)
	const subs = 50
	each := b.N/subs + 1
	var wg sync.WaitGroup
	for i := range subs {
		s := benchClient(b, addr, fmt.Sprint("s", i))
		s.Subscribe(1, "t", 0)
		_ = s.SetReadDeadline(timeZero)
		wg.Go(func() {
			if err := skim(bufio.NewReaderSize(s.Conn, 64<<10), each, func(byte, []byte) {}); err != nil {
				b.Error(err)
			}
		})
	}
	p := benchClient(b, addr, "p")
	frame := rawclient.PublishFrame(4, "t", string(make([]byte, 100)), 0, 0, 0)
	b.ResetTimer()
	_ = p.SetWriteDeadline(timeZero)
	for range each {
		if _, err := p.Write(frame); err != nil {
			b.Fatal(err)
		}
	}
	wg.Wait()
	b.ReportMetric(float64(each*subs)/b.Elapsed().Seconds(), "deliveries/s")
}

// BenchmarkRecheck: a revocation that touches one of 1,000 live sessions.
func BenchmarkRecheck(b *testing.B) {
	br, addr := bench(b)
	for i := range 1000 {
		benchClient(b, addr, fmt.Sprint("c", i)).Subscribe(1, "devices/#", 0)
	}
	one := principal.Concerned{Has: func(p *principal.Principal) bool { return p.Key == "user:c7" }, Everyone: true}
	b.ResetTimer()
	for range b.N {
		if r, err := br.Recheck(context.Background(), one); err != nil || r.Sessions != 1 {
			b.Fatalf("%+v %v", r, err)
		}
	}
}

// BenchmarkIdle: what a connection with one subscription costs in memory,
// the client's own end included.
func BenchmarkIdle(b *testing.B) {
	_, addr := bench(b)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const n = 1000
	for i := range n {
		benchClient(b, addr, fmt.Sprint("c", i)).Subscribe(1, fmt.Sprint("devices/", i), 0)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapInuse+after.StackInuse-before.HeapInuse-before.StackInuse)/n/1024, "KiB/conn")
	for range b.N {
	}
}

var timeZero time.Time
