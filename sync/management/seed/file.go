package seed

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

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

func (l *line) stands(at int) { l.Line = at }

// Load reads a file and resolves its names.
func Load(path string) (*Topology, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("topology: %w", err)
	}
	defer func() { _ = file.Close() }()
	t, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("topology %s: %w", path, err)
	}
	return t, nil
}

// Parse is Read of a text.
func Parse(data []byte) (*Topology, error) { return Read(bytes.NewReader(data)) }

// Read reads a description, element by element (Lists), and resolves its names.
func Read(r io.Reader) (*Topology, error) {
	var f File
	var problems problems
	into := map[string]func(Item) error{
		"homeTenant":        func(i Item) (err error) { f.HomeTenant, err = Value[space.ID](i); return err },
		"spaces":            add(&f.Spaces),
		"devices":           add(&f.Devices),
		"functions":         add(&f.Functions),
		"users":             add(&f.Users),
		"servicePrincipals": add(&f.ServicePrincipals),
		"keyStores":         add(&f.KeyStores),
		"assignments":       add(&f.Assignments),
		"azureAssignments":  add(&f.AzureAssignments),
	}
	err := Lists(r, slices.Sorted(maps.Keys(into)), func(i Item) error {
		problems.add(into[i.Section](i))
		return problems.full()
	})
	if problems.add(err); len(problems.list) > 0 {
		return nil, problems.err()
	}
	return resolve(&f)
}

// add decodes the elements of a list into a slice.
func add[T any](list *[]T) func(Item) error {
	return func(i Item) error {
		v, err := Element[T](i)
		if err != nil {
			return err
		}
		if s, ok := any(&v).(interface{ stands(int) }); ok {
			s.stands(i.Line)
		}
		*list = append(*list, v)
		return nil
	}
}
