package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// benchCmd speaks MQTT to a broker, and never to the admin socket.
type benchCmd struct {
	Pub     benchPub     `cmd:"" help:"Publishers alone; the broker may have no subscriber."`
	Sub     benchSub     `cmd:"" help:"Subscribers alone: count what other runs (and only they) publish."`
	FanIn   benchFanIn   `cmd:"" name:"fan-in" help:"Many publishers, one subscriber that receives all of them."`
	FanOut  benchFanOut  `cmd:"" name:"fan-out" help:"One publisher, many subscribers that each receive everything."`
	Request benchRequest `cmd:"" help:"Requests and their replies, through the broker both ways."`
	Connect benchConnect `cmd:"" help:"A storm of connects: each is closed as soon as it is answered."`
	Idle    benchIdle    `cmd:"" help:"Connections that do nothing but stay."`
}

// benchTarget is where a run connects, and as whom.
type benchTarget struct {
	Server      string        `help:"mqtt://HOST:PORT, mqtts://… or unix:///PATH." default:"mqtt://127.0.0.1:1883" short:"s" placeholder:"URL"`
	Protocol    string        `help:"The version of MQTT: 3.1.1 or 5." enum:"3.1.1,5" default:"3.1.1" short:"V"`
	CA          string        `name:"ca" help:"PEM file with the broker's authority; without it, the system's." type:"path" placeholder:"FILE"`
	Cert        string        `help:"PEM file with the certificate of clients that have no other." type:"path" placeholder:"FILE"`
	Key         string        `help:"PEM file with its private key." type:"path" placeholder:"FILE"`
	Insecure    bool          `help:"Do not verify the broker's certificate."`
	Credentials string        `help:"One client a line: id,user,password[,certificate,key]." type:"path" placeholder:"FILE"`
	User        string        `help:"Of every client, without credentials." placeholder:"NAME"`
	Password    string        `help:"Its password." env:"GATEHOUSE_BENCH_PASSWORD" placeholder:"TEXT"`
	ID          string        `name:"id" help:"The beginning of client ids that are made up." default:"bench" placeholder:"TEXT"`
	From        string        `help:"Local addresses to connect from, in turn: a broker may limit each." placeholder:"CIDR"`
	KeepAlive   time.Duration `help:"MQTT's keep alive; 0: none." default:"60s"`
	Patience    time.Duration `help:"How long each connect and subscribe may take." default:"30s"`
}

// benchRun is how long a run with messages lasts.
type benchRun struct {
	Count    uint32        `help:"End after so many messages of each publisher (of all together, with subscribers alone)." short:"n"`
	Duration time.Duration `help:"End after this long; without --count, 10s." short:"d"`
	Warmup   time.Duration `help:"Leave the first part out of rates and latencies."`
	Drain    time.Duration `help:"At the end, wait until nothing has come for this long." default:"5s"`
}

// benchSend is what publishers send.
type benchSend struct {
	QoS     byte    `name:"qos" help:"0, 1 or 2." enum:"0,1,2" default:"0" short:"q"`
	Payload int     `help:"Bytes of each payload, at least 24." default:"100"`
	Rate    float64 `help:"Messages a second of all publishers together; 0: as fast as it goes." short:"r"`
	Window  int     `help:"Messages of one publisher that are not acknowledged yet, at QoS 1 and 2." default:"20" short:"w"`
	Topic   string  `help:"Of each publisher; {id} is its client id, {n} its number." default:"bench/{id}" short:"t"`
}

// benchMatch is what subscribers of the same run ask for.
type benchMatch struct {
	Filter       string `help:"The filter of each subscriber; without it, that of all topics." short:"f" placeholder:"FILTER"`
	SubscribeQoS string `name:"subscribe-qos" help:"Of the subscriptions; without it, that of --qos." enum:",0,1,2" default:""`
	Lead         int    `help:"Messages of one publisher that not every subscriber has received yet; 0: no limit."`
}

type benchPub struct {
	benchTarget
	benchRun
	benchSend
	Clients int `help:"Publishers." default:"1" short:"c"`
}

type benchSub struct {
	benchTarget
	benchRun
	Clients int    `help:"Subscribers." default:"1" short:"c"`
	QoS     byte   `name:"qos" help:"0, 1 or 2." enum:"0,1,2" default:"0" short:"q"`
	Filter  string `help:"The filter of each." default:"bench/#" short:"f"`
}

type benchFanIn struct {
	benchTarget
	benchRun
	benchSend
	benchMatch
	Clients int `help:"Publishers." default:"50" short:"c"`
}

type benchFanOut struct {
	benchTarget
	benchRun
	benchSend
	benchMatch
	Clients int `help:"Subscribers." default:"50" short:"c"`
}

type benchRequest struct {
	benchTarget
	benchRun
	benchSend
	Clients int    `help:"Requesters." default:"10" short:"c"`
	Reply   string `help:"The topic of one requester's replies." default:"bench-reply/{id}" placeholder:"TOPIC"`
	Filter  string `help:"The filter of the responder; without it, that of all topics." short:"f" placeholder:"FILTER"`
}

type benchConnect struct {
	benchTarget
	Clients  int     `help:"Different client ids." default:"100" short:"c"`
	Count    int     `help:"Connections in all." default:"1000" short:"n"`
	Parallel int     `help:"Under way at once." default:"16" short:"p"`
	Rate     float64 `help:"New connections a second; 0: as fast as it goes." short:"r"`
}

type benchIdle struct {
	benchTarget
	Clients  int           `help:"Connections." default:"100" short:"c"`
	Parallel int           `help:"Connects under way at once." default:"16" short:"p"`
	Rate     float64       `help:"New connections a second; 0: as fast as it goes." short:"r"`
	Duration time.Duration `help:"How long they stay." default:"10s" short:"d"`
}

func (c benchPub) Run(e *env) error {
	x := load.Exchange{}
	c.fill(&x)
	return c.exchange(e, &x, c.benchRun, c.Clients, 0)
}

func (c benchSub) Run(e *env) error {
	return c.exchange(e, &load.Exchange{Filter: c.Filter, SubscribeQoS: c.QoS}, c.benchRun, 0, c.Clients)
}

func (c benchFanIn) Run(e *env) error {
	x := load.Exchange{}
	c.fill(&x)
	c.match(&x, c.Topic)
	return c.exchange(e, &x, c.benchRun, c.Clients, 1)
}

func (c benchFanOut) Run(e *env) error {
	x := load.Exchange{}
	c.fill(&x)
	c.match(&x, c.Topic)
	return c.exchange(e, &x, c.benchRun, 1, c.Clients)
}

func (c benchRequest) Run(e *env) error {
	x := load.Exchange{Reply: named(c.Reply), SubscribeQoS: c.QoS, Lead: max(1, c.Window)}
	c.fill(&x)
	if x.Filter = c.Filter; x.Filter == "" {
		x.Filter = filterOf(c.Topic)
	}
	return c.exchange(e, &x, c.benchRun, c.Clients, 1)
}

func (c benchConnect) Run(e *env) error {
	return c.storm(e, &load.Storm{Count: c.Count, Parallel: c.Parallel, Rate: c.Rate}, c.Clients)
}

func (c benchIdle) Run(e *env) error {
	return c.storm(e, &load.Storm{Count: c.Clients, Parallel: c.Parallel, Rate: c.Rate, Hold: c.Duration}, c.Clients)
}

func (s benchSend) fill(x *load.Exchange) {
	x.Topic, x.QoS, x.Payload, x.Rate, x.Window = named(s.Topic), s.QoS, s.Payload, s.Rate, s.Window
}

func (m benchMatch) match(x *load.Exchange, topic string) {
	x.Filter, x.SubscribeQoS, x.Lead = m.Filter, x.QoS, m.Lead
	if x.Filter == "" {
		x.Filter = filterOf(topic)
	}
	if n, err := strconv.Atoi(m.SubscribeQoS); err == nil {
		x.SubscribeQoS = byte(n)
	}
}

// named fills in a topic with {id} and {n}.
func named(topic string) func(n int, c load.Client) string {
	return func(n int, c load.Client) string {
		return strings.NewReplacer("{id}", c.ID, "{n}", strconv.Itoa(n)).Replace(topic)
	}
}

// filterOf is the filter that matches whatever a topic with {id} and {n} becomes.
func filterOf(topic string) string {
	levels := strings.Split(topic, "/")
	for i, l := range levels {
		if strings.Contains(l, "{id}") || strings.Contains(l, "{n}") {
			levels[i] = "+"
		}
	}
	return strings.Join(levels, "/")
}

func (t benchTarget) exchange(e *env, x *load.Exchange, r benchRun, publishers, subscribers int) error {
	if publishers+subscribers < 1 || publishers < 0 || subscribers < 0 {
		return &admin.Error{What: "a run needs at least one client", Where: "--clients"}
	}
	if x.Payload == 0 && publishers == 0 {
		x.Payload = load.StampSize // nothing is sent
	}
	x.Count, x.Duration, x.Warmup, x.Drain = r.Count, r.Duration, r.Warmup, r.Drain
	if x.Count == 0 && x.Duration == 0 {
		x.Duration = 10 * time.Second
	}
	clients, err := t.clients(publishers + subscribers)
	if err != nil {
		return err
	}
	x.Publishers, x.Subscribers = clients[:publishers], clients[publishers:]
	if x.Target, err = t.target(); err != nil {
		return err
	}
	bar := newBar(os.Stderr)
	x.Progress = bar.progress
	res, err := x.Run(e.ctx)
	bar.clear()
	if err != nil {
		return t.failed(err)
	}
	if err := e.print(res, func(p *printer) { printExchange(p, res) }); err != nil {
		return err
	}
	if !res.Whole() {
		return answered{}
	}
	return nil
}

func (t benchTarget) storm(e *env, s *load.Storm, clients int) (err error) {
	if clients < 1 || s.Parallel < 1 || s.Count < 1 {
		return &admin.Error{
			What:  "a run needs at least one client, one connection and one under way at once",
			Where: "--clients, --count, --parallel",
		}
	}
	if s.Clients, err = t.clients(clients); err != nil {
		return err
	}
	if s.Target, err = t.target(); err != nil {
		return err
	}
	bar := newBar(os.Stderr)
	s.Progress = bar.progress
	res, err := s.Run(e.ctx)
	bar.clear()
	if err != nil {
		return t.failed(err)
	}
	if err := e.print(res, func(p *printer) { printStorm(p, res, s.Hold) }); err != nil {
		return err
	}
	if res.Accepted < res.Attempted || res.Closed > 0 {
		return answered{}
	}
	return nil
}

func (t benchTarget) failed(err error) error {
	next := "is a broker listening there, and does it know these clients?"
	var refused *load.Refused
	if errors.As(err, &refused) {
		next = "the broker's log says why; --credentials names the clients"
	}
	return &admin.Error{What: oneLine(err), Where: t.Server, Next: next}
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// clients are those of the file, or made up.
func (t benchTarget) clients(n int) ([]load.Client, error) {
	if t.Credentials != "" {
		list, err := load.ReadClients(t.Credentials)
		if err != nil {
			return nil, &admin.Error{
				What:  oneLine(err),
				Where: "--credentials",
				Next:  "write one client a line: client id,user name,password[,certificate file,key file]",
			}
		}
		if len(list) < n {
			return nil, &admin.Error{
				What:  fmt.Sprintf("the file holds %d clients, and the run needs %d", len(list), n),
				Where: t.Credentials,
				Next:  "add lines, or take fewer --clients",
			}
		}
		return list[:n], nil
	}
	run := rand.Uint32() //nolint:gosec // tells two runs apart, keeps no secret
	list := make([]load.Client, n)
	for i := range list {
		list[i] = load.Client{ID: fmt.Sprintf("%s-%08x-%d", t.ID, run, i), User: t.User, Password: t.Password}
	}
	return list, nil
}

func (t benchTarget) target() (load.Target, error) {
	wrong := func(where string, err error) (load.Target, error) {
		return load.Target{}, &admin.Error{What: oneLine(err), Where: where}
	}
	network, address, host, secure, err := load.ParseServer(t.Server)
	if err != nil {
		return wrong("--server "+t.Server, err)
	}
	target := load.Target{Network: network, Address: address, Level: 4, Timeout: t.Patience, KeepAlive: t.KeepAlive}
	if t.Protocol == "5" {
		target.Level = 5
	}
	if t.KeepAlive < 0 || t.KeepAlive > 65535*time.Second || t.KeepAlive > 0 && t.KeepAlive < time.Second {
		return wrong("--keep-alive", errors.New("MQTT's keep alive is 0, or 1s to 65535s"))
	}
	if t.From != "" {
		if target.From, err = netip.ParsePrefix(t.From); err != nil {
			return wrong("--from", err)
		}
	}
	pair, err := load.ReadPair(t.Cert, t.Key)
	if err != nil {
		return wrong("--cert, --key", err)
	}
	if !secure {
		return target, nil
	}
	target.TLS = &tls.Config{
		ServerName:         host,
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: t.Insecure, //nolint:gosec // only when it is asked for by name
	}
	if pair != nil {
		target.TLS.Certificates = []tls.Certificate{*pair}
	}
	if t.CA != "" {
		pem, err := os.ReadFile(t.CA)
		if err != nil {
			return wrong("--ca", err)
		}
		target.TLS.RootCAs = x509.NewCertPool()
		if !target.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return wrong("--ca "+t.CA, errors.New("holds no certificate"))
		}
	}
	return target, nil
}
