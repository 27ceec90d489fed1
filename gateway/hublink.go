package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/twins"
	"github.com/gatehouse/gatehouse/gateway/upstream/iothub"
)

// hubUplink is the IoT Hub mode: telemetry, twins, methods and commands.
type hubUplink struct {
	d    *daemon
	link *iothub.Hub
	as   *principal.Principal

	methods chan struct{}   // one place for each method under way
	working sync.WaitGroup  // methods under way
	ctx     context.Context // of Run; set before the link's handlers run

	mu    sync.Mutex
	held  map[string]func() // device → release of its session; guarded by mu
	since time.Time         // of the present state; guarded by mu
	up    bool              // guarded by mu
}

func (h *hubUplink) open(d *daemon) error {
	c := d.cfg.Upstream.IoTHub
	host := c.Host
	if host == "" {
		host = d.cfg.Instance.Hub.Host
	}
	o := iothub.Options{
		Host: host, Address: c.Address, Log: d.log, Now: d.clock.Now,
		Sign: func(hub, dev string, key []byte, expiry time.Time) string {
			return sas.Issue(sas.Device(hub, dev), key, expiry)
		},
		Keys: h.key, TLS: &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host},
		Gateway: iothub.Gateway{Device: c.GatewayDevice.ID},
		Handlers: iothub.Handlers{
			Twin:    func(dev string, body []byte) { d.twins.Twin(dev, body) },
			Desired: func(dev string, _ int64, patch []byte) { d.twins.DesiredPatch(dev, patch) },
			Method:  h.method, Cloud: h.cloud,
		},
	}
	if c.CA != "" {
		pool, err := certificatePool(c.CA)
		if err != nil {
			return fmt.Errorf("upstream.iothub.ca: %w", err)
		}
		o.TLS.RootCAs = pool
	}
	if c.GatewayDevice.SASKey != "" {
		key, err := readBase64(c.GatewayDevice.SASKey)
		if err != nil {
			return fmt.Errorf("upstream.iothub.gatewayDevice.sasKey: %w", err)
		}
		o.Gateway.Key = key
	} else if c.GatewayDevice.Cert != "" {
		pair, err := loadCertificate(&config.TLS{Cert: c.GatewayDevice.Cert, Key: c.GatewayDevice.Key})
		if err != nil {
			return fmt.Errorf("upstream.iothub.gatewayDevice: %w", err)
		}
		o.Gateway.Certificate = &pair
	}
	link, err := iothub.New(o)
	if err != nil {
		return err
	}
	h.d, h.link, h.as, h.held = d, link, d.upstreamPrincipal(), map[string]func(){}
	h.methods = make(chan struct{}, maxMethods)
	h.ctx = context.Background()
	return nil
}

// key yields the symmetric key of a downstream device, where a connection for each is wanted.
func (h *hubUplink) key(id string) ([]byte, bool) {
	if !h.d.cfg.Upstream.IoTHub.PerDevice {
		return nil, false
	}
	dev, ok := h.d.policy.Topology().DeviceByHubID(id)
	if !ok || dev.Status != device.Active || dev.Auth.Kind != device.AuthSAS || len(dev.Auth.Primary) == 0 {
		return nil, false
	}
	return dev.Auth.Primary, true
}

// presence is how often connected devices and their sessions at the hub are matched.
const presence = 500 * time.Millisecond

// Run keeps the link, and a session at the hub for each connected device that can have one.
func (h *hubUplink) Run(ctx context.Context) error {
	h.ctx = ctx
	defer h.working.Wait()
	done := make(chan error, 1)
	go func() { done <- h.link.Run(ctx) }()
	tick := time.NewTicker(presence)
	defer tick.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-tick.C:
			h.follow()
		}
	}
}

func (h *hubUplink) follow() {
	here := map[string]bool{}
	for _, s := range h.d.broker.Sessions() {
		if s.Connected && s.Principal != nil && s.Principal.Kind == principal.Device {
			here[s.Principal.DeviceID] = true
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range here {
		if h.held[id] != nil {
			continue
		}
		if session, err := h.link.Session(id); err == nil {
			h.held[id] = session.Hold()
		}
	}
	for id, release := range h.held {
		if !here[id] {
			release()
			delete(h.held, id)
		}
	}
	if up := h.link.Status().GatewayUp; up != h.up || h.since.IsZero() {
		h.up, h.since = up, h.d.opts.Now()
	}
}

// Status implements uplink.
func (h *hubUplink) Status() (state, detail, target string, since time.Time) {
	s := h.link.Status()
	h.mu.Lock()
	since = h.since
	h.mu.Unlock()
	target = h.d.cfg.Instance.Hub.Host
	if s.GatewayUp {
		return "connected", fmt.Sprintf("%d of %d device sessions up", s.Up, s.Sessions), target, since
	}
	return "connecting", s.LastError, target, since
}

// TwinGet implements twins.Upstream.
func (h *hubUplink) TwinGet(ctx context.Context, id string) ([]byte, error) {
	s, err := h.session(id)
	if err != nil {
		return nil, err
	}
	body, err := s.TwinGet(ctx)
	return body, twinError(err)
}

// PatchReported implements twins.Upstream.
func (h *hubUplink) PatchReported(ctx context.Context, id string, patch []byte) (int64, error) {
	s, err := h.session(id)
	if err != nil {
		return 0, err
	}
	version, err := s.PatchReported(ctx, patch)
	return version, twinError(err)
}

func (h *hubUplink) session(id string) (*iothub.Session, error) {
	if strings.Contains(id, "/") {
		return nil, twins.ErrNoTwin // modules have no connection of their own at the hub
	}
	s, err := h.link.Session(id)
	if errors.Is(err, iothub.ErrNoIdentity) {
		return nil, twins.ErrNoTwin
	}
	return s, twinError(err)
}

func twinError(err error) error {
	var refused *iothub.StatusError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &refused) && refused.Status >= 400 && refused.Status < 500 && refused.Status != http.StatusTooManyRequests:
		return fmt.Errorf("%w: %w", twins.ErrRejected, err)
	}
	return fmt.Errorf("%w: %w", twins.ErrOffline, err)
}

// maxMethods is how many direct methods may be under way: a hub that floods gets 429.
const maxMethods = 64

// method passes a direct method on, if the link's principal may act on the device, and answers it.
func (h *hubUplink) method(id string, m iothub.Method) {
	select {
	case h.methods <- struct{}{}:
	default:
		h.respond(id, m, http.StatusTooManyRequests, nil)
		return
	}
	h.working.Go(func() {
		defer func() { <-h.methods }()
		ctx, cancel := context.WithTimeout(h.ctx, 30*time.Second)
		defer cancel()
		status, body := http.StatusForbidden, []byte(nil)
		probe := &message.Message{Topic: "devices/" + id + "/messages/devicebound/", Publisher: h.as}
		v := h.d.access.Open(h.as).Publish(probe.Topic, probe)
		h.d.ledger.Audit(message.Record{Time: h.d.clock.Now(), Event: "method", Allowed: v.Allowed, Principal: h.as.Key, ClientID: id, Topic: m.Name, Reason: v.Reason, Detail: v.Detail, Count: 1})
		if v.Allowed {
			status, body = h.d.twins.Method(ctx, id, m.Name, m.Payload)
		}
		h.respond(id, m, status, body)
	})
}

func (h *hubUplink) respond(id string, m iothub.Method, status int, body []byte) {
	s, err := h.link.Session(id)
	if err == nil {
		err = s.Respond(m.Request, status, body)
	}
	if err != nil {
		h.d.log.Info("a method's answer did not reach the hub", "device", id, "method", m.Name, "err", err)
	}
}

// cloud publishes a cloud-to-device message; it stays at the hub until it was taken, or refused for good.
func (h *hubUplink) cloud(_ string, c iothub.CloudMessage) {
	m := &message.Message{Topic: c.Topic, Payload: c.Payload, QoS: 1, Accepted: h.d.clock.Now(), Publisher: h.as}
	h.d.broker.Publish(m, func(err error) {
		if message.Settled(err) {
			c.Ack()
		}
	})
}
