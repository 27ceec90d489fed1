package wire

import (
	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/space"
)

// Space is a space as the API shows it (docs/spec/management-api.md 4.5).
type Space struct {
	ID            space.ID `json:"id,omitzero"`
	Name          string   `json:"name"`
	Description   string   `json:"description,omitempty"`
	FriendlyName  string   `json:"friendlyName,omitempty"`
	Type          string   `json:"type,omitempty"`
	TypeID        int      `json:"typeId"`
	ParentSpaceID space.ID `json:"parentSpaceId,omitzero"`
	Place
	Devices []Device `json:"devices,omitempty"`
	Sensors []Sensor `json:"sensors,omitempty"`
}

// Place is what the parameter includes=FullPath adds to an object.
type Place struct {
	FullName   string       `json:"fullName,omitempty"`
	SpacePaths []space.Path `json:"spacePaths,omitempty"`
}

// ParseSpace reads a space.
func ParseSpace(o Object) (Space, error) {
	var w Space
	err := readAll(o,
		idField("id", &w.ID), text("name", 64, &w.Name), text("description", 4000, &w.Description),
		text("friendlyName", 64, &w.FriendlyName), text("type", 64, &w.Type), number("typeId", &w.TypeID),
		idField("parentSpaceId", &w.ParentSpaceID), place(&w.Place))
	return w, err
}

// Record converts w to the registry's form. The id and the path are needed.
func (w *Space) Record() (device.Space, error) {
	if w.ID.IsZero() {
		return device.Space{}, invalid("id", "required")
	}
	if len(w.SpacePaths) == 0 || w.SpacePaths[0].Space() != w.ID {
		return device.Space{}, invalid("spacePaths", "the space's own path is required")
	}
	path := w.SpacePaths[0]
	if up, _ := path.Parent(); up.Space() != w.ParentSpaceID {
		return device.Space{}, invalid("spacePaths", "disagrees with parentSpaceId")
	}
	return device.Space{ID: w.ID, Parent: w.ParentSpaceID, Name: w.Name, Path: path}, nil
}

// A reader sets one value from one member. It leaves the value unchanged if the member is
// absent, so that the same readers serve POST and PATCH.
type reader func(o Object) error

func readAll(o Object, readers ...reader) error {
	for _, read := range readers {
		if err := read(o); err != nil {
			return err
		}
	}
	return nil
}

func text(name string, max int, to *string) reader {
	return func(o Object) error {
		if !o.Has(name) {
			return nil
		}
		s, err := o.String(name, max)
		if err == nil {
			*to = s
		}
		return err
	}
}

func number(name string, to *int) reader {
	return func(o Object) error {
		if !o.Has(name) {
			return nil
		}
		n, err := o.Int(name)
		if err == nil {
			*to = n
		}
		return err
	}
}

func truth(name string, to *bool) reader {
	return func(o Object) error {
		if !o.Has(name) {
			return nil
		}
		b, err := o.Bool(name)
		if err == nil {
			*to = b
		}
		return err
	}
}

func idField(name string, to *space.ID) reader {
	return func(o Object) error {
		if !o.Has(name) {
			return nil
		}
		id, err := o.ID(name)
		if err == nil {
			*to = id
		}
		return err
	}
}

func place(to *Place) reader {
	return func(o Object) error {
		if err := text("fullName", 4096, &to.FullName)(o); err != nil {
			return err
		}
		if !o.Has("spacePaths") {
			return nil
		}
		paths, err := o.Strings("spacePaths", 64, 4096)
		if err != nil {
			return err
		}
		to.SpacePaths = nil
		for _, s := range paths {
			p, err := space.ParsePath(s)
			if err != nil {
				return invalid("spacePaths", "want /{guid}/{guid}…")
			}
			to.SpacePaths = append(to.SpacePaths, p)
		}
		return nil
	}
}
