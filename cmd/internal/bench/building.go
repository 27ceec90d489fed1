package main

import (
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gatehouse/gatehouse/cmd/internal/load"
	"github.com/gatehouse/gatehouse/cmd/internal/site"
	"github.com/gatehouse/gatehouse/gateway/freeport"
)

// building is described to each broker in its own words: every device may
// publish to bench/ITS-ID and read bench/+, and nothing else.
type building struct {
	*site.Site
	dir     string
	clients []load.Client // the same for each broker
	ports   struct{ gatehouse, mosquitto, mosquittoTLS, mochi int }
}

func newBuilding(devices int) (*building, error) {
	dir, err := os.MkdirTemp("", "ghb")
	if err != nil {
		return nil, err
	}
	b := &building{dir: dir}
	var ports site.Ports
	p := &b.ports
	for _, port := range []*int{&ports.MQTT, &ports.Page, &ports.API, &p.gatehouse, &p.mosquitto, &p.mosquittoTLS, &p.mochi} {
		if *port, err = freeport.Get(); err != nil {
			return b, err
		}
	}
	seed := filepath.Join(dir, "topology.yaml")
	if err := os.WriteFile(seed, []byte(topology(devices)), 0o600); err != nil {
		return b, err
	}
	if b.Site, err = site.Prepare(site.Options{Dir: dir, Seed: seed, Ports: ports}); err != nil {
		return b, err
	}
	for i := range devices {
		id := deviceID(i)
		token, _ := b.SAS(id)
		b.clients = append(b.clients, load.Client{ID: id, User: site.Username(id), Password: token})
	}
	return b, errors.Join(b.gatehouse(), b.mosquitto(), b.dynamicSecurity())
}

func deviceID(i int) string { return fmt.Sprintf("bench-%04d", i) }

func (b *building) write(name, text string) error {
	return os.WriteFile(b.File(name), []byte(text), 0o600)
}

// topology is what the cloud side knows: devices that publish for themselves and read everything.
func topology(devices int) string {
	var t, assignments strings.Builder
	t.WriteString(`homeTenant: 7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001
spaces:
  - key: campus
    id: 5bace000-0000-4000-8000-000000000001
    name: Campus
    children:
      - {key: house, id: 5bace000-0000-4000-8000-000000000010, name: House}
servicePrincipals:
  - {id: 5e4c1ce0-0000-4000-8000-000000000001, name: gatehoused}
devices:
`)
	for i := range devices {
		fmt.Fprintf(&t, "  - {id: de71ce00-0000-4000-8000-%012d, deviceId: %s, hardwareId: %012X, space: house, auth: sas}\n",
			i+1, deviceID(i), i+1)
		// A filter with a wildcard in the place of a device asks for the right at the root.
		for n, grant := range []string{"role: GatewayDevice, at: house", "role: SupportSpecialist, at: /"} {
			fmt.Fprintf(&assignments, "  - {id: a5510000-0000-4000-8000-%012d, %s, who: {device: %s}}\n", 100+2*i+n, grant, deviceID(i))
		}
	}
	t.WriteString(`assignments:
  - {id: a5510000-0000-4000-8000-000000000001, role: SupportSpecialist, who: {servicePrincipal: gatehoused}, at: house}
  - {id: a5510000-0000-4000-8000-000000000002, role: TokenAdministrator, who: {servicePrincipal: gatehoused}, at: house}
`)
	return t.String() + assignments.String()
}

// gatehouse names what it must and leaves every limit at its default.
func (b *building) gatehouse() error {
	text := b.GatewayConfig(site.Daemon{
		MQTT:      b.Ports.MQTT,
		Page:      b.Ports.Page,
		Listeners: fmt.Sprintf("  - {name: mqtt, address: \"127.0.0.1:%d\"}", b.ports.gatehouse),
		State:     "{dir: state}",
		LogFormat: "json",
		Sections:  "access: {map: topics.yaml}",
	})
	return errors.Join(b.write("gatehoused.yaml", text), b.write("topics.yaml",
		"rows:\n  - {name: bench, topic: \"bench/{device}\", publish: {anyOf: [Create Sensor]}, subscribe: {anyOf: [Read Device]}}\n"))
}

// mosquitto gets what is kind to it: it queues without a limit, since it would
// lose messages at 1000, and as many deliveries may be under way as with
// Gatehouse. It does not set TCP_NODELAY by itself; where latency is judged
// it is told to.
func (b *building) mosquitto() error {
	plugins, _ := filepath.Glob("/usr/lib/*/mosquitto_dynamic_security.so")
	if len(plugins) == 0 {
		return errors.New("there is no /usr/lib/*/mosquitto_dynamic_security.so: install Debian's package mosquitto")
	}
	text := fmt.Sprintf(`listener %d 127.0.0.1
listener %d 127.0.0.1
certfile %s
keyfile %s
allow_anonymous false
plugin %s
plugin_opt_config_file %s
max_queued_messages 0
max_inflight_messages 512
log_type error
log_type warning
log_dest stderr
`, b.ports.mosquitto, b.ports.mosquittoTLS, b.PKI("server.pem"), b.PKI("server.key"), plugins[0], b.File("dynsec.json"))
	if os.Getuid() == 0 {
		text += "user root\n" // as anybody else it could not read these files
	}
	return errors.Join(b.write("mosquitto.conf", text), b.write("mosquitto-nodelay.conf", text+"set_tcp_nodelay true\n"))
}

// dynamicSecurity is the plugin's file: a role for what all may read, and one for each client's own topic.
func (b *building) dynamicSecurity() error {
	type acl struct {
		Type  string `json:"acltype"`
		Topic string `json:"topic"`
		Allow bool   `json:"allow"`
	}
	type role struct {
		Name string `json:"rolename"`
		ACLs []acl  `json:"acls,omitempty"`
	}
	type client struct {
		User       string `json:"username"`
		ID         string `json:"clientid"`
		Password   string `json:"password"`
		Salt       string `json:"salt"`
		Iterations int    `json:"iterations"`
		Roles      []role `json:"roles"`
	}
	const iterations = 101 // the plugin's own number
	roles := []role{{"reader", []acl{{"subscribePattern", "bench/+", true}, {"publishClientReceive", "bench/+", true}}}}
	var clients []client
	for _, c := range b.clients {
		salt := make([]byte, 12)
		if _, err := rand.Read(salt); err != nil {
			return err
		}
		hash, err := pbkdf2.Key(sha512.New, c.Password, salt, iterations, 64)
		if err != nil {
			return err
		}
		roles = append(roles, role{"of-" + c.ID, []acl{{"publishClientSend", "bench/" + c.ID, true}}})
		clients = append(clients, client{
			User:       c.User,
			ID:         c.ID,
			Password:   base64.StdEncoding.EncodeToString(hash),
			Salt:       base64.StdEncoding.EncodeToString(salt),
			Iterations: iterations,
			Roles:      []role{{Name: "reader"}, {Name: "of-" + c.ID}},
		})
	}
	none := map[string]bool{"publishClientSend": false, "publishClientReceive": false, "subscribe": false, "unsubscribe": true}
	text, err := json.Marshal(map[string]any{"clients": clients, "roles": roles, "defaultACLAccess": none})
	return errors.Join(err, b.write("dynsec.json", string(text)))
}
