package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/gatehouse/gatehouse/cmd/internal/bench/rig"
	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// house is a gateway with its cloud side, the broker upstream of it, and a bridge to the same broker.
type house struct {
	*rig.Site
	up, bridgePort int // ports
	broker, bridge *rig.Program
}

// limits admit the backlogs of the bars.
const limits = `outbox: {maxBytes: 4 GiB, maxMessages: 4000000, perDeviceBytes: 1 GiB, perDeviceMessages: 1000000}
`

// Mosquitto at either end keeps all it gets: it would lose messages at 1000.
const mosquitto = `allow_anonymous true
max_queued_messages 0
log_type error
log_type warning
log_dest stderr
`

func newHouse(ctx context.Context, o options, devices int) (h *house, err error) {
	h = &house{}
	for _, port := range []*int{&h.up, &h.bridgePort} {
		if *port, err = freeport.Get(); err != nil {
			return nil, err
		}
	}
	sections := limits + fmt.Sprintf(`upstream:
  mode: mqtt
  mqtt: {url: "mqtt://127.0.0.1:%d", clientId: gatehouse}
  routes: [{name: all, filter: "devices/#"}]
`, h.up)
	if h.Site, err = rig.New(rig.Options{Bin: o.bin, Devices: devices, Sections: sections}); err != nil {
		return nil, err
	}
	upstream := fmt.Sprintf("listener %d 127.0.0.1\n%s", h.up, mosquitto)
	bridge := fmt.Sprintf(`listener %d 127.0.0.1
%spersistence true
persistence_location %s/
connection up
address 127.0.0.1:%d
topic devices/# out 1
remote_clientid bridge
cleansession false
try_private true
`, h.bridgePort, mosquitto, h.Dir, h.up)
	if os.Getuid() == 0 { // as anybody else it could not use this folder
		upstream, bridge = upstream+"user root\n", bridge+"user root\n"
	}
	err = errors.Join(os.WriteFile(h.File("upstream.conf"), []byte(upstream), 0o600),
		os.WriteFile(h.File("bridge.conf"), []byte(bridge), 0o600), h.StartCloud(ctx))
	if err != nil {
		h.Remove()
		return nil, err
	}
	return h, nil
}

func (h *house) startUpstream(ctx context.Context) (err error) {
	if h.broker, err = h.Start("mosquitto", "-c", h.File("upstream.conf")); err != nil {
		return err
	}
	return h.broker.Listens(ctx, h.up)
}

func (h *house) startBridge(ctx context.Context) (err error) {
	if h.bridge, err = h.Start("mosquitto", "-c", h.File("bridge.conf")); err != nil {
		return err
	}
	return h.bridge.Listens(ctx, h.bridgePort)
}

// at is how a broker without TLS is reached, with clients from many addresses.
func at(port int) load.Target {
	return load.Target{
		Network:   "tcp",
		Address:   fmt.Sprintf("127.0.0.1:%d", port),
		Level:     4,
		From:      netip.MustParsePrefix("127.1.0.0/16"),
		Timeout:   30 * time.Second,
		KeepAlive: 10 * time.Minute,
	}
}

// publish is a run of these clients, at QoS 1.
func publish(t load.Target, clients []load.Client, payload, window int, each uint32) *load.Exchange {
	return &load.Exchange{
		Target:     t,
		Publishers: clients,
		Topic:      func(_ int, c load.Client) string { return "devices/" + c.ID + "/messages/events/" },
		QoS:        1,
		Payload:    payload,
		Window:     window,
		Count:      each,
		Drain:      30 * time.Second,
	}
}

// waiting is how many messages the outbox holds.
func (h *house) waiting(ctx context.Context) (int64, error) {
	st, err := h.Status(ctx)
	return st.Outbox.Messages, err
}

// drained waits until nothing waits any more.
func (h *house) drained(ctx context.Context) error {
	return h.Gateway.Until(ctx, func(ctx context.Context) error {
		n, err := h.waiting(ctx)
		if err == nil && n > 0 {
			err = fmt.Errorf("%d messages wait", n)
		}
		return err
	})
}

// fill makes n messages of that payload wait, in all. Upstream is away.
func (h *house) fill(ctx context.Context, n, payload int) error {
	each := uint32(n / len(h.Clients))
	r, err := publish(h.Target(false), h.Clients, payload, 100, each).Run(ctx)
	if err != nil {
		return err
	}
	if got := r.Acknowledged; got != int64(each)*int64(len(h.Clients)) {
		return fmt.Errorf("%d of %d messages were acknowledged, %d clients closed: %v", got, int(each)*len(h.Clients), r.Closed, r.Reasons)
	}
	p99 := float64(r.AckMicros.P99) / 1000
	fmt.Printf("  %d messages of %d bytes accepted, %.0f/s, p99 %.1f ms\n", r.Acknowledged, payload, r.AckedRate, p99)
	return nil
}
