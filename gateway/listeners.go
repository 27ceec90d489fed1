package gateway

import (
	"crypto/tls"
	"errors"
	"net"

	"github.com/gatehouse/gatehouse/gateway/admin"
	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/health"
	"github.com/gatehouse/gatehouse/gateway/listeners"
	"github.com/gatehouse/gatehouse/gateway/systemd"
)

// doors are the gateway's sockets: those that systemd passed in by name, and
// the others by their address.
type doors struct {
	all    *listeners.Set
	mqtt   []broker.Listener
	byName map[string]*listeners.Door // of mqtt
	admin  *listeners.Door
	page   *listeners.Door // nil: none
	api    *listeners.Door // nil: none
}

// openDoors makes every door and tries each once. A door that cannot be opened is named in
// health, and is tried again while the daemon runs (package listeners). An error means that
// systemd passed in a socket that belongs to no listener: nobody would accept from it.
func (d *daemon) openDoors() error {
	names := []string{"admin", "page"}
	for _, l := range d.cfg.Listeners {
		names = append(names, l.Name)
	}
	var passed map[string]net.Listener
	if !d.opts.rehearsal { // the sockets that systemd passes in are for the daemon, not for a check
		var err error
		if passed, err = systemd.Listeners(names...); err != nil {
			return err
		}
	}
	d.doors.all = listeners.New(d.now, d.doorFindings)
	d.doors.byName = map[string]*listeners.Door{}
	for i := range d.cfg.Listeners {
		c := &d.cfg.Listeners[i]
		door := d.addDoor(listeners.Spec{
			Name:    "listener " + c.Name,
			Warning: "listener-" + c.Name,
			Level:   listeners.Failing,
			Address: c.Address,
			Open:    opener(c),
			Passed:  passed[c.Name],
			TLS:     c.TLS,
		})
		d.doors.byName[c.Name] = door
		d.doors.mqtt = append(d.doors.mqtt, brokerListener(c, door))
	}
	socket := string(d.cfg.Admin.Socket)
	d.doors.admin = d.addDoor(listeners.Spec{
		Name:    "the admin socket",
		Warning: "admin-socket",
		Level:   listeners.Degraded,
		Address: socket,
		Open:    func() (net.Listener, error) { return admin.Listen(socket) },
		Passed:  passed["admin"],
	})
	if c := d.cfg.Admin; c.Address != "" || passed["page"] != nil {
		d.doors.page = d.addDoor(listeners.Spec{
			Name:    "the status page",
			Warning: "status-page",
			Level:   listeners.Degraded,
			Address: c.Address,
			Open:    listeners.TCP(c.Address),
			Passed:  passed["page"],
		})
	}
	if c := d.cfg.API; c.Address != "" {
		d.doors.api = d.addDoor(listeners.Spec{
			Name:    "the Device Update API",
			Warning: "device-update-api",
			Level:   listeners.Failing,
			Address: c.Address,
			Open:    listeners.TCP(c.Address),
			TLS:     c.TLS,
			Shape: func(t *tls.Config) { // callers authenticate by tokens, so no client certificate is requested
				t.ClientAuth, t.NextProtos = tls.NoClientCert, []string{"h2", "http/1.1"}
			},
		})
	}
	return nil
}

// errRehearsal is why a door of a rehearsal is not opened.
var errRehearsal = errors.New("nothing is opened to check a configuration")

func (d *daemon) addDoor(spec listeners.Spec) *listeners.Door {
	if d.opts.rehearsal {
		spec.Open = func() (net.Listener, error) { return nil, errRehearsal }
	}
	return d.doors.all.Add(spec)
}

func opener(c *config.Listener) func() (net.Listener, error) {
	if c.Kind == config.KindUnix {
		return listeners.Unix(c.Address)
	}
	return listeners.TCP(c.Address)
}

// brokerListener makes a listener of the broker from one of the configuration.
func brokerListener(c *config.Listener, door *listeners.Door) broker.Listener {
	l := broker.Listener{
		Name:     c.Name,
		Listener: door,
		TLS:      door.TLS(),
		Filtered: c.Filtered,
		Origins:  c.Origins,
		Path:     c.Path,
		Limits: broker.Limits{
			Handshake:      c.Limits.HandshakeTimeout,
			Connect:        c.Limits.ConnectTimeout,
			ConnectPacket:  int(c.Limits.MaxConnectPacket),
			Pending:        c.Limits.MaxUnauthenticated,
			PerAddress:     c.Limits.MaxPerAddress,
			RatePerAddress: c.Limits.RatePerAddress,
			MaxConnections: c.Limits.MaxConnections,
		},
	}
	switch c.Kind {
	case config.KindWebSocket:
		l.Kind = broker.WebSocket
	case config.KindUnix:
		l.Kind = broker.Unix
	}
	if c.OnDeniedPublish == config.OnDeniedIgnore {
		l.OnDeniedPublish = broker.Ignore
	}
	return l
}

// doorFindings is told after every attempt which doors have which problem.
func (d *daemon) doorFindings(all []listeners.Finding) {
	severities := map[listeners.Level]health.Severity{
		listeners.Notice:   health.Notice,
		listeners.Degraded: health.Degraded,
		listeners.Failing:  health.Failing,
	}
	for _, f := range all {
		d.health.Set(f.Raised, f.Name, severities[f.Level], f.Text, f.Next)
	}
}
