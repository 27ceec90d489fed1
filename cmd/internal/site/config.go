package site

import (
	"os"
	"strings"
	"text/template"
)

// homeTenant of a site without a seed, whose topology names none.
const homeTenant = "7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001"

func (s *Site) tenant() string {
	if s.seed == "" {
		return homeTenant
	}
	return s.Building.HomeTenant.String()
}

// CloudFile is the configuration of managementd.
func (s *Site) CloudFile() string { return s.File("managementd.yaml") }

func (s *Site) writeCloud() error {
	secret, err := os.ReadFile(s.File("gatehoused.secret"))
	if err != nil {
		return err
	}
	text := fill(cloudConfig, map[string]any{
		"Ports":    s.Ports,
		"Tenant":   s.tenant(),
		"Seed":     s.seed,
		"Secret":   string(secret),
		"Hub":      HubHost,
		"Requests": s.requests,
	})
	return os.WriteFile(s.CloudFile(), []byte(text), 0o600)
}

// A Daemon is what differs between the gateways of one site. The texts are
// YAML, indented as the place where they go.
type Daemon struct {
	MQTT, Page int    // ports
	Files      string // stands before the names of the site's files; empty in its own folder
	Instance   string // further keys of instance
	Hub        string // further keys of instance.hub
	Listener   string // further keys of the listener mqtts
	Listeners  string // further listeners
	State      string // value of state
	LogFormat  string // text or json
	Sections   string // further sections
}

// GatewayConfig is a configuration of gatehoused.
func (s *Site) GatewayConfig(d Daemon) string {
	return fill(gatewayConfig, map[string]any{
		"D":        d,
		"Tenant":   s.tenant(),
		"HubHost":  HubHost,
		"Space":    GatewaySpace,
		"Server":   s.URL(""),
		"TokenURL": s.TokenURL(),
		"KeysURL":  s.KeysURL(),
		"API":      API,
	})
}

// fill panics if one of this package's own templates does not fit its values.
func fill(text string, values any) string {
	var b strings.Builder
	if err := template.Must(template.New("").Parse(text)).Execute(&b, values); err != nil {
		panic(err)
	}
	return b.String()
}

const cloudConfig = `listen: 127.0.0.1:{{.Ports.API}}
tls: {cert: pki/server.pem, key: pki/server.key}
state: cloud
tenant: {{.Tenant}}
{{- if .Requests}}
requestsPerSecond: {{.Requests}}
{{- end}}
{{- if .Seed}}
hubHost: {{.Hub}}
seed: {{.Seed}}
credentials: cloud-credentials.yaml
{{- end}}
issuer:
  url: https://localhost:{{.Ports.API}}/{{.Tenant}}/v2.0
  key: cloud-issuer.key
  management: https://management.demo.example
  verifiedDomains: [harbour.example]
  audiences:
    - {resource: "https://management.demo.example", audience: "https://management.demo.example"}
    - {resource: "api://gatehouse", audience: "api://gatehouse"}
  clients: [{id: demo, redirects: ["http://localhost"]}]
  accounts:
    - {id: gatehoused, secret: {{.Secret}}, objectId: 5e4c1ce0-0000-4000-8000-000000000001}
    - {id: dashboard, secret: dashboard, objectId: 5e4c1ce0-0000-4000-8000-000000000002}
    - {id: alice@harbour.example, secret: alice, objectId: a5e40000-0000-4000-8000-000000000001, user: true}
    - {id: dave@harbour.example, secret: dave, objectId: a5e40000-0000-4000-8000-000000000004, user: true}
    - {id: erin@harbour.example, secret: erin, objectId: a5e40000-0000-4000-8000-000000000005, user: true}
{{- if .Ports.Hub}}
hub:
  listen: 127.0.0.1:{{.Ports.Hub}}
  signingRoot: update-roots.json
{{- end}}
`

const gatewayConfig = `# See configs/gatehoused.yaml for what each key means.
instance:
  tenant: {{.Tenant}}
  site: {{.Space}}
  hub:
    host: {{.HubHost}}
{{- with .D.Hub}}
{{.}}
{{- end}}
{{- with .D.Instance}}
{{.}}
{{- end}}
listeners:
  - name: mqtts
    address: 127.0.0.1:{{.D.MQTT}}
    tls: {cert: {{.D.Files}}pki/server.pem, key: {{.D.Files}}pki/server.key}
    limits: {ratePerAddress: 1000}   # everything comes from one address
{{- with .D.Listener}}
{{.}}
{{- end}}
{{- with .D.Listeners}}
{{.}}
{{- end}}
identity:
  tenants:
    - id: {{.Tenant}}
      issuers: ["{{.Server}}/{{.Tenant}}/v2.0"]
      verifiedDomains: [harbour.example]
  audiences: {mqtt: ["api://gatehouse"]}
  jwks: {url: "{{.KeysURL}}", ca: {{.D.Files}}pki/ca.pem}
cloud:
  management:
    url: {{.Server}}{{.API}}
    ca: {{.D.Files}}pki/ca.pem
    credential:
      kind: client-secret
      tokenUrl: {{.TokenURL}}
      clientId: gatehoused
      clientSecret: {{.D.Files}}gatehoused.secret
      scope: https://management.demo.example/.default
state: {{.D.State}}
admin:
  socket: admin.sock
  address: 127.0.0.1:{{.D.Page}}
log: {level: info, format: {{.D.LogFormat}}}
{{- with .D.Sections}}
{{.}}
{{- end}}
`
