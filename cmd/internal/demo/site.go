package main

import (
	"crypto/tls"
	"fmt"
	"os"

	"github.com/gatehouse/gatehouse/cmd/internal/site"
)

const gatewayID = "gateway-1" // speaks for four devices without a connection of their own

// prepare makes the building's folder, with the configuration of the one gateway that runs in it.
func prepare(dir, seedFile string, p site.Ports) (*site.Site, error) {
	s, err := site.Prepare(site.Options{Dir: dir, Seed: seedFile, Ports: p})
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(s.File("log"), 0o700); err != nil {
		return nil, err
	}
	tenant := s.Building.HomeTenant
	return s, os.WriteFile(s.File("gatehoused.yaml"), []byte(s.GatewayConfig(site.Daemon{
		MQTT:      p.MQTT,
		Page:      p.Page,
		Hub:       "    armScope: " + site.HubScope,
		Instance:  fmt.Sprintf(updateInstance, site.UpdateScope, tenant),
		State:     "{dir: state, minFree: 64 MiB}",
		LogFormat: "text",
		Sections:  fmt.Sprintf(gatewaySections, tenant, p.Hub),
	})), 0o600)
}

const updateInstance = `  deviceUpdate:
    armScope: %s
    principal: {objectId: 5e4c1ce0-0000-4000-8000-000000000003, tenantId: %s}`

const gatewaySections = `upstream:
  mode: iothub
  # Commands and methods from the hub are decided as this principal.
  as: {objectId: 5e4c1ce0-0000-4000-8000-000000000004, tenantId: %s}
  iothub:
    address: 127.0.0.1:%d
    ca: pki/ca.pem
    perDevice: true
    gatewayDevice: {id: gateway-1, cert: pki/gateway-1.pem, key: pki/gateway-1.key}
  routes:
    - {name: telemetry, filter: "devices/+/messages/events/#"}
deviceUpdate:
  records: off
  stuckAfter: 6h
  trustedRoots: update-roots.json   # the demo's own update authority, never on a real gateway
audit: {file: state/audit.jsonl, ratePerPrincipal: 50}`

// endpointOf a device as its SDK would connect.
func endpointOf(s *site.Site, id string) endpoint {
	e := endpoint{
		addr:     fmt.Sprintf("localhost:%d", s.Ports.MQTT),
		tls:      &tls.Config{RootCAs: s.Pool, MinVersion: tls.VersionTLS12},
		clientID: id,
		username: site.Username(id),
		clean:    true,
	}
	if c, ok := s.Certificate(id); ok {
		e.tls.Certificates = []tls.Certificate{c}
	} else if token, ok := s.SAS(id); ok {
		e.password = token
	}
	return e
}
