package gateway

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"syscall"

	"github.com/gatehouse/gatehouse/gateway/broker"
	"github.com/gatehouse/gatehouse/gateway/config"
	"github.com/gatehouse/gatehouse/gateway/systemd"
)

// doors opens every listener of the configuration: those that systemd passed
// in by name, and the others by their address. On an error none stays open.
func doors(cfg *config.Config, live map[string]*liveTLS) (list []broker.Listener, adminSocket, page net.Listener, err error) {
	var open []net.Listener
	defer func() {
		if err != nil {
			for _, l := range open {
				_ = l.Close()
			}
		}
	}()
	names := []string{"admin", "page"}
	for _, l := range cfg.Listeners {
		names = append(names, l.Name)
	}
	passed, err := systemd.Listeners(names...)
	if err != nil {
		return nil, nil, nil, err
	}
	for _, l := range passed {
		open = append(open, l)
	}
	for i := range cfg.Listeners {
		c := &cfg.Listeners[i]
		l, ok := passed[c.Name]
		if !ok {
			if l, err = listen(c); err != nil {
				return nil, nil, nil, fmt.Errorf("listener %q: %w", c.Name, explainListen(err, c.Address))
			}
			open = append(open, l)
		}
		door := broker.Listener{
			Name: c.Name, Listener: l, Filtered: c.Filtered, Origins: c.Origins,
			Limits: broker.Limits{
				Handshake: c.Limits.HandshakeTimeout, Connect: c.Limits.ConnectTimeout, ConnectPacket: int(c.Limits.MaxConnectPacket),
				Pending: c.Limits.MaxUnauthenticated, PerAddress: c.Limits.MaxPerAddress, RatePerAddress: c.Limits.RatePerAddress,
				MaxConnections: c.Limits.MaxConnections,
			},
		}
		switch c.Kind {
		case config.KindWebSocket:
			door.Kind = broker.WebSocket
		case config.KindUnix:
			door.Kind = broker.Unix
		}
		if c.OnDeniedPublish == config.OnDeniedIgnore {
			door.OnDeniedPublish = broker.Ignore
		}
		if c.TLS != nil {
			t, err := serverTLS(c.TLS)
			if err != nil {
				return nil, nil, nil, fmt.Errorf("listener %q: %w", c.Name, err)
			}
			live[c.Name] = new(liveTLS)
			live[c.Name].Store(t)
			door.TLS = live[c.Name].config()
		}
		list = append(list, door)
	}
	page = passed["page"]
	if page == nil && cfg.Admin.Address != "" {
		if page, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp", cfg.Admin.Address); err != nil {
			return nil, nil, nil, fmt.Errorf("admin.address: %w", explainListen(err, cfg.Admin.Address))
		}
	}
	return list, passed["admin"], page, nil
}

func listen(c *config.Listener) (net.Listener, error) {
	network := "tcp"
	if c.Kind == config.KindUnix {
		network = "unix"
		// A socket file that nobody answers on was left by a process that died.
		if conn, err := (&net.Dialer{}).Dial("unix", c.Address); err == nil {
			_ = conn.Close()
			return nil, syscall.EADDRINUSE
		} else if errors.Is(err, syscall.ECONNREFUSED) {
			if err := os.Remove(c.Address); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
	}
	return (&net.ListenConfig{}).Listen(context.Background(), network, c.Address)
}

// explainListen says what an operator can do about a socket that cannot be opened.
func explainListen(err error, address string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%s is taken by another process: end it (ss -ltnp names it), or choose another address", address)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("this user may not listen on %s: use a port from 1024 up, or let systemd pass the socket in (gatehoused.socket)", address)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("no interface of this machine has the address %s", address)
	}
	return err
}

// serverTLS is the TLS of a listener. Client certificates are asked for and not verified
// here: which of them proves whom is the registry's business (identity). Tickets are off, so that
// a revoked certificate cannot come back by resumption.
func serverTLS(c *config.TLS) (*tls.Config, error) {
	cert, err := loadCertificate(c)
	if err != nil {
		return nil, err
	}
	t := &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequestClientCert,
		SessionTicketsDisabled: true,
	}
	if c.MinVersion == "1.3" {
		t.MinVersion = tls.VersionTLS13
	}
	if c.ClientCA != "" {
		pem, err := os.ReadFile(string(c.ClientCA))
		if err != nil {
			return nil, err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no certificate", c.ClientCA)
		}
		t.ClientCAs = pool // names the authorities to clients that choose by them
	}
	return t, nil
}

func loadCertificate(c *config.TLS) (tls.Certificate, error) {
	cert, err := os.ReadFile(string(c.Cert))
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := c.Key.Read()
	if err != nil {
		return tls.Certificate{}, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("%s and %s: %w", c.Cert, c.Key, err)
	}
	return pair, nil
}
