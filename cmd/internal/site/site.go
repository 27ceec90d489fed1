// Package site is the demo building on this machine: a folder with keys,
// certificates and the configuration of both daemons, and calls to the API of
// the cloud that managementd plays. The demo and the end-to-end tests start
// the daemons on it; nothing is started here.
package site

import (
	"crypto/tls"
	stdx509 "crypto/x509"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/sas"
	"github.com/gatehouse/gatehouse/device/credential/x509"
	"github.com/gatehouse/gatehouse/sync/management"
	"github.com/gatehouse/gatehouse/sync/management/seed"
)

// Names of the demo building (configs/demo-topology.yaml).
const (
	HubHost     = "demo-hub.azure-devices.net"
	HubScope    = "/subscriptions/5ab50000-0000-4000-8000-000000000001/resourceGroups/demo/providers/Microsoft.Devices/IotHubs/demo-hub"
	UpdateScope = "/subscriptions/5ab50000-0000-4000-8000-000000000001/resourceGroups/demo" +
		"/providers/Microsoft.DeviceUpdate/accounts/demo-update/instances/demo"
	GatewaySpace = "/5bace000-0000-4000-8000-000000000001/5bace000-0000-4000-8000-000000000010" // path of the space that the gateway serves
	Reader       = "de71ce00-0000-4000-8000-000000000020"                                       // id of the device reader-1
	Owner        = "alice@harbour.example"                                                      // has every right in the building
)

// API is the path of the management API.
const API = management.Base

// Ports are on the loopback address.
type Ports struct {
	MQTT, Page int // gatehoused: MQTT over TLS, the status page
	API, Hub   int // managementd; Hub 0 is a cloud without an IoT hub
}

// Options of Prepare.
type Options struct {
	Dir   string // the folder, which is made
	Seed  string // file of the topology; empty: a cloud that begins with nothing
	Ports Ports
	// Credentials is the text of the cloud's file of how the devices prove
	// themselves, from whoever has made keys for them; empty: keys are made here.
	Credentials string
	// RequestsPerSecond is what the management API answers; 0: its default.
	RequestsPerSecond int
}

// Site is one building.
type Site struct {
	Dir      string // absolute; keys and certificates are in pki
	Ports    Ports
	Building *seed.Topology    // empty without a seed
	CA       x509.Pair         // signs the servers' certificates
	Pool     *stdx509.CertPool // CA

	seed     string
	requests int
	devices  map[string]x509.Pair // by hub device id
	keys     map[string][]byte    // SAS keys by hub device id
	client   *http.Client
}

// Prepare makes the folder with keys, certificates and managementd.yaml. What
// is there already is kept, so that a second start goes on where the first
// stopped; only the configuration is written anew.
func Prepare(o Options) (*Site, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, err
	}
	s := &Site{
		Dir:      dir,
		Ports:    o.Ports,
		requests: o.RequestsPerSecond,
		Building: &seed.Topology{},
		devices:  map[string]x509.Pair{},
		keys:     map[string][]byte{},
	}
	if o.Seed != "" {
		if s.seed, err = filepath.Abs(o.Seed); err != nil {
			return nil, err
		}
		if s.Building, err = seed.Load(o.Seed); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(s.PKI(""), 0o700); err != nil {
		return nil, err
	}
	if err := s.makeKeys(time.Now().Add(-time.Hour), o.Credentials); err != nil {
		return nil, err
	}
	s.client = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: s.Pool, MinVersion: tls.VersionTLS12},
		MaxIdleConnsPerHost: 16,
	}}
	return s, s.writeCloud()
}

// PKI is a file of keys or certificates.
func (s *Site) PKI(name string) string { return filepath.Join(s.Dir, "pki", name) }

// File is a file of the site.
func (s *Site) File(name string) string { return filepath.Join(s.Dir, name) }

// Path of a space by its key in the topology file.
func (s *Site) Path(key string) string {
	p, _ := s.Building.Path(key)
	return p.String()
}

// Certificate of a device, if it has one.
func (s *Site) Certificate(id string) (tls.Certificate, bool) {
	p, ok := s.devices[id]
	if !ok {
		return tls.Certificate{}, false
	}
	return tls.Certificate{Certificate: [][]byte{p.Cert.Raw}, PrivateKey: p.Key, Leaf: p.Cert}, true
}

// SAS is a device's token for an hour, if it has a key.
func (s *Site) SAS(id string) (string, bool) {
	key, ok := s.keys[id]
	if !ok {
		return "", false
	}
	return sas.Issue(sas.Device(HubHost, id), key, time.Now().Add(time.Hour)), true
}

// Username of a device, as its SDK sends it.
func Username(id string) string { return HubHost + "/" + id + "/?api-version=2021-04-12" }

// Telemetry is the topic of a sensor's reading; without a sensor, of the device's own.
func Telemetry(id, sensor string) string {
	topic := fmt.Sprintf("devices/%s/messages/events/", id)
	if sensor == "" {
		return topic
	}
	return topic + "DigitalTwins-Telemetry=1.0&DigitalTwins-SensorHardwareId=" + sensor
}
