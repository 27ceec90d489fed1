package main

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/authz/model"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/gateway/admin"
)

// telemetry checks assert 1: devices connect, publish, and their messages arrive upstream.
func (t *trial) telemetry() {
	for _, d := range []struct{ what, id, via string }{
		{"a device with a registered X.509 certificate publishes", "lobby-thermostat", gatewayID},
		{"a device whose certificate an authority vouches for publishes", "thermostat-104", gatewayID},
		{"a device with a SAS token publishes", "meter-main", "meter-main"},
	} {
		t.f.check("1", d.what, func() (string, error) {
			c, err := t.device(d.id)
			if err != nil {
				return "", err
			}
			defer c.close()
			payload := fmt.Sprintf(`{"SensorValue":"21.5","run":"%s"}`, d.id)
			if err := t.publish(c, site.Telemetry(d.id, sensorOf(d.id)), payload); err != nil {
				return "", err
			}
			return "acknowledged, and at the hub as " + d.via, t.arrived(d.via, payload)
		})
	}
}

// commands checks assert 1 the other way: messages and methods of the hub, which the gateway decides as
// upstream.as, reach the device.
func (t *trial) commands() {
	c, err := t.device(updated)
	if err != nil {
		t.f.check("1", updated+" connects", func() (string, error) { return "", err })
		return
	}
	defer c.close()
	ctx, cancel := t.within(10 * time.Second)
	defer cancel()
	twin := "/twins/" + updated
	t.f.check("1", "a cloud-to-device message of the hub reaches the device", func() (string, error) {
		if err := c.subscribe(ctx, "devices/"+updated+"/messages/devicebound/#"); err != nil {
			return "", err
		}
		if _, err := t.sys.CallHub(ctx, http.MethodPost, twin+"/messages", "close the valve", nil); err != nil {
			return "", err
		}
		m, err := c.await(ctx, func(m received) bool { return strings.Contains(string(m.payload), "close the valve") })
		return "on " + clip(m.topic, 48), err
	})
	t.f.check("1", "a direct method is called and answered", func() (string, error) {
		if err := c.subscribe(ctx, "$iothub/methods/POST/#"); err != nil {
			return "", err
		}
		answered := make(chan error, 1)
		go func() {
			m, err := c.await(ctx, func(m received) bool { return strings.HasPrefix(m.topic, "$iothub/methods/POST/reboot/?$rid=") })
			if err == nil {
				_, rid, _ := strings.Cut(m.topic, "$rid=")
				err = c.publish(ctx, "$iothub/methods/res/200/?$rid="+rid, []byte(`{"rebooting":true}`))
			}
			answered <- err
		}()
		var result struct {
			Status  int             `json:"status"`
			Payload json.RawMessage `json:"payload"`
		}
		if _, err := t.sys.CallHub(ctx, http.MethodPost, twin+"/methods/reboot?timeout=5s", struct{}{}, &result); err != nil {
			return "", err
		}
		if err := <-answered; err != nil {
			return "", err
		}
		if result.Status != http.StatusOK {
			return "", fmt.Errorf("status %d, want the device's 200", result.Status)
		}
		return "the caller got 200 and " + string(result.Payload), nil
	})
}

// refusals checks assert 2.
func (t *trial) refusals() {
	e := func(id string) endpoint { return endpointOf(t.site, id) }
	t.f.check("2", "a device without an assignment is refused at CONNECT", func() (string, error) {
		return t.refusedConnect(e("lobby-display"), "no-assignment")
	})
	t.f.check("2", "a disabled device is refused at CONNECT", func() (string, error) {
		return t.refusedConnect(e("coffee-1"), "not-active")
	})
	t.f.check("2", "a stranger's certificate is refused, whatever device it claims to be", func() (string, error) {
		claim := e("door-1")
		claim.tls.Certificates = e("stranger").tls.Certificates
		return t.refusedConnect(claim, "unknown-certificate")
	})
	t.f.check("2", "a SAS token signed with a wrong key is refused", func() (string, error) {
		claim := e("meter-main")
		wrong, _ := base64.StdEncoding.DecodeString("d3JvbmcgZGV2aWNlIGtleSBvZiAzMiBieXRlcyEhISE=")
		claim.password = sas.Issue(sas.Device(site.HubHost, "meter-main"), wrong, time.Now().Add(time.Hour))
		return t.refusedConnect(claim, "wrong-key")
	})
	t.f.check("2", "a publish to another device's topic is refused and never arrives", func() (string, error) {
		c, err := t.device("ups-1")
		if err != nil {
			return "", err
		}
		defer c.close()
		err = t.publish(c, site.Telemetry("door-1", "door-1-lock"), `{"forged":true}`)
		if err == nil {
			return "", errors.New("it was acknowledged")
		}
		if err := t.audited("publish", "ups-1", "not-acting-for"); err != nil {
			return "", err
		}
		all, err := t.sys.received(t.ctx, "")
		for _, m := range all {
			if string(m.Payload) == `{"forged":true}` {
				return "", fmt.Errorf("it arrived upstream as a message of %s", m.Device)
			}
		}
		return "not-acting-for; the connection was closed (3.1.1)", err
	})
	t.f.check("2", "a wildcard subscription wider than the rights is refused", func() (string, error) {
		c, err := t.device("ups-1")
		if err != nil {
			return "", err
		}
		defer c.close()
		ctx, cancel := t.within(5 * time.Second)
		defer cancel()
		for _, filter := range []string{"#", "devices/+/messages/devicebound/#", "spaces/#"} {
			if err := c.subscribe(ctx, filter); !errors.Is(err, errRefused) {
				return "", fmt.Errorf("%s: want a refusal, got %w", filter, cmpNil(err))
			}
		}
		if err := c.subscribe(ctx, "devices/ups-1/messages/devicebound/#"); err != nil {
			return "", fmt.Errorf("its own commands: %w", err)
		}
		return "SUBACK 0x80 for #, +, spaces/#; its own granted", t.audited("subscribe", "ups-1", "not-acting-for")
	})
}

// gatewayDevice checks assert 3.
func (t *trial) gatewayDevice() {
	t.f.check("3", "gateway-1 publishes for pump-1, which names it in gatewayId", func() (string, error) {
		c, err := t.device(gatewayID)
		if err != nil {
			return "", err
		}
		defer c.close()
		payload := `{"SensorValue":"3.2","for":"pump-1"}`
		if err := t.publish(c, site.Telemetry("pump-1", "pump-1-pressure"), payload); err != nil {
			return "", err
		}
		return "arrived with its origin", t.arrived(gatewayID, payload)
	})
	t.f.check("3", "gateway-1 is refused for meter-main, in the same room, which does not", func() (string, error) {
		c, err := t.device(gatewayID)
		if err != nil {
			return "", err
		}
		defer c.close()
		if err := t.publish(c, site.Telemetry("meter-main", "meter-main-power"), `{"forged":true}`); err == nil {
			return "", errors.New("it was acknowledged")
		}
		return "not-acting-for", t.audited("publish", gatewayID, "not-acting-for")
	})
}

// liveRights checks assert 4.
func (t *trial) liveRights() {
	c, err := t.device("reader-1")
	if err != nil {
		t.f.check("4", "reader-1 connects", func() (string, error) { return "", err })
		return
	}
	defer c.close()
	ctx, cancel := t.within(20 * time.Second)
	defer cancel()
	dashboard, err := t.dashboard(ctx)
	if err != nil {
		t.f.check("4", "the dashboard connects with a bearer token", func() (string, error) { return "", err })
		return
	}
	defer dashboard.close()
	filter := "spaces" + t.site.Path("lobby") + "/#"
	var assignment string
	t.f.check("4", "POST roleassignments: 201, and the live session gains the right", func() (string, error) {
		if err := dashboard.subscribe(ctx, "spaces"+t.site.Path("annex")+"/#"); !errors.Is(err, errRefused) {
			return "", fmt.Errorf("the dashboard may already read the annex: %w", cmpNil(err))
		}
		began := time.Now()
		var err error
		if assignment, err = t.sys.Assign(ctx, model.GatewayDeviceRole, "DeviceId", site.Reader, t.site.Path("kitchen")); err != nil {
			return "", err
		}
		posted := time.Since(began)
		if err := t.inForce(ctx, "reader-1", site.Telemetry("reader-1", "reader-1-badge"), true); err != nil {
			return "", err
		}
		took := time.Since(began)
		if err := t.publish(c, site.Telemetry("reader-1", "reader-1-badge"), `{"badge":1}`); err != nil {
			return "", err
		}
		detail := fmt.Sprintf("id %s…, in force %.1f ms after the POST was sent (answered in %.1f)", assignment[:8], ms(took), ms(posted))
		return detail, t.arrived(gatewayID, `{"badge":1}`)
	})
	t.f.check("4", "DELETE: 204, and the live session loses it, without reconnecting", func() (string, error) {
		began := time.Now()
		if err := t.sys.Withdraw(ctx, assignment); err != nil {
			return "", err
		}
		answered := time.Since(began)
		if err := t.inForce(ctx, "reader-1", site.Telemetry("reader-1", "reader-1-badge"), false); err != nil {
			return "", err
		}
		took := time.Since(began)
		if err := t.publish(c, site.Telemetry("reader-1", "reader-1-badge"), `{"badge":2}`); err == nil {
			return "", errors.New("a publish was still acknowledged")
		}
		detail := fmt.Sprintf("gone %.1f ms after the DELETE was sent (answered in %.1f)", ms(took), ms(answered))
		return detail, t.audited("publish", "reader-1", "role-lacks-operation")
	})
	t.f.check("4", "a subscription loses its messages when the right is withdrawn", func() (string, error) {
		return t.subscriptionLost(ctx, dashboard, filter)
	})
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// dashboard connects the service principal that may read the whole house, with a bearer token.
func (t *trial) dashboard(ctx context.Context) (*client, error) {
	return t.dashboardAs(ctx, "dashboard-1", true)
}

// dashboardAs connects it with a client id; without clean its session outlives the connection.
func (t *trial) dashboardAs(ctx context.Context, clientID string, clean bool) (*client, error) {
	token, err := t.sys.Token(ctx, site.Gateway, "dashboard")
	if err != nil {
		return nil, err
	}
	e := endpointOf(t.site, "dashboard")
	e.clientID, e.username, e.password, e.tls.Certificates, e.clean = clientID, "dashboard", token, nil, clean
	return connect(ctx, e)
}

// inForce asks the gateway itself, over its admin socket, until a publish is decided as expected.
func (t *trial) inForce(ctx context.Context, principal, topic string, want bool) error {
	return t.eventually(5*time.Second, func(context.Context) error {
		x, err := t.sys.explain(ctx, admin.Question{Principal: principal, Verb: "publish", Topic: topic})
		if err != nil {
			return err
		}
		if x.Allowed != want {
			return fmt.Errorf("the gateway still says allowed=%v (%s)", x.Allowed, x.Reason)
		}
		return nil
	})
}

// subscriptionLost withdraws the one assignment by which the dashboard reads the lobby, while door-1
// publishes there, and gives it back.
func (t *trial) subscriptionLost(ctx context.Context, dashboard *client, filter string) (string, error) {
	if err := dashboard.subscribe(ctx, filter); err != nil {
		return "", err
	}
	door, err := t.device("door-1")
	if err != nil {
		return "", err
	}
	defer door.close()
	send := func(text string) error { return t.publish(door, site.Telemetry("door-1", "door-1-contact"), text) }
	is := func(text string) func(received) bool {
		return func(m received) bool { return string(m.payload) == text }
	}
	if err := send("before"); err != nil {
		return "", err
	}
	if _, err := dashboard.await(ctx, is("before")); err != nil {
		return "", fmt.Errorf("before the withdrawal: %w", err)
	}
	// a5510000-…-10 gives the dashboard the User role at the house.
	if err := t.sys.Withdraw(ctx, "a5510000-0000-4000-8000-000000000010"); err != nil {
		return "", err
	}
	if err := dashboard.disconnected(ctx); err != nil {
		return "", fmt.Errorf("its last right is gone: %w", err)
	}
	if err := send("after"); err != nil {
		return "", err
	}
	if n := dashboard.count(is("after")); n > 0 {
		return "", errors.New("a message was delivered after the withdrawal")
	}
	var created string
	status, err := t.sys.Call(ctx, http.MethodPost, "/roleassignments", map[string]string{
		"roleId":       "b1ffdb77-c635-4e7e-ad25-948237d85b30",
		"objectId":     "5e4c1ce0-0000-4000-8000-000000000002",
		"objectIdType": "ServicePrincipalId",
		"tenantId":     t.site.Building.HomeTenant.String(),
		"path":         site.GatewaySpace,
	}, &created)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("delivered before, disconnected with its last right, nothing after; given back (%d)", status), nil
}

var errGranted = errors.New("it was granted")

// cmpNil is the error that came instead of a refusal; errGranted when there was none.
func cmpNil(err error) error {
	if err == nil {
		return errGranted
	}
	return err
}
