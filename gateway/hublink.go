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
	"github.com/gatehouse/gatehouse/gateway/message"
	"github.com/gatehouse/gatehouse/gateway/principal"
	"github.com/gatehouse/gatehouse/gateway/tlsfile"
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

	publish func(m *message.Message, done func(error))

	mu       sync.Mutex
	here     map[string]int                   // device → its connections; guarded by mu
	held     map[string]func()                // device → release of its session; guarded by mu
	commands map[string][]iothub.CloudMessage // device → what waits for it, oldest first; guarded by mu
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
		pool, err := tlsfile.Pool(c.CA)
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
		pair, err := tlsfile.Pair(c.GatewayDevice.Cert, c.GatewayDevice.Key)
		if err != nil {
			return fmt.Errorf("upstream.iothub.gatewayDevice: %w", err)
		}
		o.Gateway.Certificate = &pair
	}
	link, err := iothub.New(o)
	if err != nil {
		return err
	}
	h.d, h.link, h.as = d, link, d.upstreamPrincipal()
	h.here, h.held, h.commands = map[string]int{}, map[string]func(){}, map[string][]iothub.CloudMessage{}
	h.publish = d.receive
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

// Run keeps the link. A connected device that can have a session at the hub holds one.
func (h *hubUplink) Run(ctx context.Context) error {
	h.ctx = ctx
	defer h.working.Wait()
	return h.link.Run(ctx)
}

// Arrived implements broker.Presence.
func (h *hubUplink) Arrived(p *principal.Principal) {
	if p.Kind != principal.Device {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.here[p.DeviceID]++
	h.match(p.DeviceID)
}

// Left implements broker.Presence.
func (h *hubUplink) Left(p *principal.Principal) {
	if p.Kind != principal.Device {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.here[p.DeviceID]--; h.here[p.DeviceID] > 0 {
		return
	}
	delete(h.here, p.DeviceID)
	h.match(p.DeviceID)
}

// registryChanged matches all anew: a device may have got a key, or lost it.
func (h *hubUplink) registryChanged() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id := range h.here {
		h.match(id)
	}
}

// match holds a session for a device that is here and can have one, and no
// other. h.mu is held.
func (h *hubUplink) match(id string) {
	var session *iothub.Session
	if h.here[id] > 0 {
		session, _ = h.link.Session(id) // an error: it rides on the gateway's identity
	}
	switch release := h.held[id]; {
	case session != nil && release == nil:
		h.held[id] = session.Hold()
	case session == nil && release != nil:
		release()
		delete(h.held, id)
	}
}

// Status implements uplink.
func (h *hubUplink) Status() (state, detail, target string, since time.Time) {
	s := h.link.Status()
	since, target = s.Since, h.d.cfg.Instance.Hub.Host
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
	case errors.As(err, &refused) && (refused.Status == http.StatusBadRequest || refused.Status == http.StatusRequestEntityTooLarge):
		// About the patch itself. All others (a quota used up, a device not
		// there yet) may pass, and a report that was acknowledged is not dropped for them.
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
