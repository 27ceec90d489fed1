package seed

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/gatehouse/gatehouse/device/space"
)

// File is the description as written.
type File struct {
	HomeTenant        space.ID          `yaml:"homeTenant"`
	Spaces            []Space           `yaml:"spaces"`
	Devices           []Device          `yaml:"devices"`
	Functions         []Named           `yaml:"functions"`
	Users             []User            `yaml:"users"`
	ServicePrincipals []Named           `yaml:"servicePrincipals"`
	KeyStores         []Named           `yaml:"keyStores"`
	Assignments       []Assignment      `yaml:"assignments"`
	AzureAssignments  []AzureAssignment `yaml:"azureAssignments"`
}

// Space is a node of the tree; the rest of the file names it by Key.
type Space struct {
	Key      string   `yaml:"key"`
	ID       space.ID `yaml:"id"`
	Name     string   `yaml:"name"`
	Children []Space  `yaml:"children"`
}

// Device is a device with its sensors.
type Device struct {
	ID         space.ID `yaml:"id"`
	DeviceID   string   `yaml:"deviceId"`
	HardwareID string   `yaml:"hardwareId"`
	Space      string   `yaml:"space"`
	Auth       string   `yaml:"auth"` // sas, selfSigned, ca, none
	GatewayID  string   `yaml:"gatewayId"`
	Status     string   `yaml:"status"` // empty: Active
	Sensors    []Sensor `yaml:"sensors"`
	line
}

// Sensor is a sensor; Space is empty where it is its device's.
type Sensor struct {
	ID         space.ID `yaml:"id"`
	HardwareID string   `yaml:"hardwareId"`
	Type       string   `yaml:"type"`
	Space      string   `yaml:"space"`
}

// Named is anything that has an id and a name, perhaps in a space.
type Named struct {
	ID    space.ID `yaml:"id"`
	Name  string   `yaml:"name"`
	Space string   `yaml:"space"`
}

// User is a person.
type User struct {
	ID        space.ID `yaml:"id"`
	UPN       string   `yaml:"upn"`
	FirstName string   `yaml:"firstName"`
	LastName  string   `yaml:"lastName"`
	Space     string   `yaml:"space"`
}

// Who names one identity; exactly one member is set.
type Who struct {
	Device           string   `yaml:"device"`
	User             string   `yaml:"user"`
	ServicePrincipal string   `yaml:"servicePrincipal"`
	Function         string   `yaml:"function"`
	Domain           string   `yaml:"domain"`
	Tenant           space.ID `yaml:"tenant"`
}

// Assignment is a role assignment; At is a space's key or "/".
type Assignment struct {
	ID   space.ID `yaml:"id"`
	Role string   `yaml:"role"`
	Who  Who      `yaml:"who"`
	At   string   `yaml:"at"`
	line
}

// AzureAssignment is a role assignment of Azure; exactly one principal is set.
type AzureAssignment struct {
	ID               space.ID `yaml:"id"`
	Role             space.ID `yaml:"role"`
	ServicePrincipal string   `yaml:"servicePrincipal"`
	User             string   `yaml:"user"`
	Scope            string   `yaml:"scope"`
	line
}

// line is where an element stands in the file, for messages.
type line struct {
	Line int `yaml:"-"`
}

// UnmarshalYAML keeps the line. The alias types have no methods, so that they
// decode plainly; KnownFields is not inherited, so strictness is asked again.
func (d *Device) UnmarshalYAML(n *yaml.Node) error {
	type plain Device
	d.Line = n.Line
	return strict(n, (*plain)(d))
}

// UnmarshalYAML keeps the line.
func (a *Assignment) UnmarshalYAML(n *yaml.Node) error {
	type plain Assignment
	a.Line = n.Line
	return strict(n, (*plain)(a))
}

// UnmarshalYAML keeps the line.
func (a *AzureAssignment) UnmarshalYAML(n *yaml.Node) error {
	type plain AzureAssignment
	a.Line = n.Line
	return strict(n, (*plain)(a))
}

func strict(n *yaml.Node, into any) error {
	text, err := yaml.Marshal(n)
	if err != nil {
		return err
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil {
		reason := strings.TrimPrefix(strings.ReplaceAll(err.Error(), "\n", " "), "yaml: ")
		return fmt.Errorf("the element at line %d: %s", n.Line, reason)
	}
	return nil
}

// Load reads a file and resolves its names.
func Load(path string) (*Topology, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("topology %s: %w", path, err)
	}
	return t, nil
}

// Parse is Load of a file's text.
func Parse(data []byte) (*Topology, error) {
	if len(data) > 16<<20 {
		return nil, errors.New("larger than 16 MiB")
	}
	var f File
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	if err := dec.Decode(&f); err != nil {
		return nil, err
	}
	return resolve(&f)
}
