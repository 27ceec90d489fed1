// Package twin reads and merges twin documents in IoT Hub's form
// (docs/spec/device-update.md 5.2): properties as strict JSON objects, merged
// by RFC 7396, each half with its own $version. Values only: immutable, safe
// for concurrent use, nothing here starts or stores anything.
package twin

import (
	"errors"
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// ErrDocument is what every refusal of a document or patch wraps.
var ErrDocument = errors.New("malformed twin document")

const versionKey = "$version"

// Properties is one half of a twin: desired or reported.
type Properties struct {
	// Value is always an object and holds no key that begins with $.
	Value strictjson.Value
	// Version is the $version; 0 before the first.
	Version int64
}

// Document is a whole twin as a twin GET answers it.
type Document struct {
	Desired, Reported Properties
}

// Empty is a half without properties.
func Empty() Properties { return Properties{Value: strictjson.ObjectValue()} }

// Parse reads the body of a twin GET answer. Both halves must be objects; a
// missing half is empty. $version is required on a half that is there.
func Parse(body []byte) (Document, error) {
	v, err := strictjson.Parse(body, strictjson.Limits{})
	if err != nil {
		return Document{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	if v.Kind() != strictjson.Object {
		return Document{}, fmt.Errorf("%w: not an object", ErrDocument)
	}
	d := Document{Desired: Empty(), Reported: Empty()}
	for _, half := range []struct {
		name string
		into *Properties
	}{{"desired", &d.Desired}, {"reported", &d.Reported}} {
		w := v.Get(half.name)
		if w.Kind() == strictjson.Absent {
			continue
		}
		p, versioned, err := split(w)
		if err != nil {
			return Document{}, fmt.Errorf("%w: %s: %w", ErrDocument, half.name, err)
		}
		if !versioned {
			return Document{}, fmt.Errorf("%w: %s has no $version", ErrDocument, half.name)
		}
		*half.into = p
	}
	return d, nil
}

// ParsePatch reads the body of a desired or reported PATCH. Version is 0 when
// the body names none (a device's reported patch never does).
func ParsePatch(body []byte) (Properties, error) {
	v, err := strictjson.Parse(body, strictjson.Limits{})
	if err != nil {
		return Properties{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	p, _, err := split(v)
	if err != nil {
		return Properties{}, fmt.Errorf("%w: %w", ErrDocument, err)
	}
	return p, nil
}

// split takes the $-keys off an object: $version is read, $metadata and the
// like are the hub's own and never a property.
func split(v strictjson.Value) (p Properties, versioned bool, err error) {
	if v.Kind() != strictjson.Object {
		return Properties{}, false, errors.New("not an object")
	}
	if w := v.Get(versionKey); w.Kind() != strictjson.Absent {
		n, ok := w.Int()
		if !ok || n < 0 {
			return Properties{}, false, errors.New("$version is no integer")
		}
		p.Version, versioned = n, true
	}
	var hubs []string
	for _, m := range v.Members() {
		if strings.HasPrefix(m.Name, "$") {
			hubs = append(hubs, m.Name)
		}
	}
	p.Value = v.Without(hubs...)
	return p, versioned, nil
}

// Merge is the half after a patch. The version becomes the patch's when it names one.
func (p Properties) Merge(patch Properties) Properties {
	p.Value = strictjson.Merge(p.Value, patch.Value)
	if patch.Version != 0 {
		p.Version = patch.Version
	}
	return p
}

// Body writes the half with its $version, as a patch or inside a document.
func (p Properties) Body() strictjson.Value {
	return p.Value.With(versionKey, strictjson.IntValue(p.Version))
}

// Body writes the document as a twin GET answers it.
func (d Document) Body() []byte {
	return strictjson.ObjectValue(
		strictjson.Member{Name: "desired", Value: d.Desired.Body()},
		strictjson.Member{Name: "reported", Value: d.Reported.Body()},
	).Bytes()
}
