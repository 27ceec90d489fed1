package manifest

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"strings"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// Bounds of a manifest. That of the steps is the agent's own; the others limit the
// work that a signed but absurd manifest can cause.
const (
	MaxManifest = 64 << 10
	maxSteps    = 10
	maxFiles    = 256
	maxName     = 512
)

// UpdateID names an update.
type UpdateID struct{ Provider, Name, Version string }

func (u UpdateID) String() string { return u.Provider + "/" + u.Name + "/" + u.Version }

// File is one signed file.
type File struct {
	ID, Name string
	Size     int64
	SHA256   [sha256.Size]byte
}

// Step is one instruction.
type Step struct {
	// Reference names the child's detached manifest by file id; "" for an inline step.
	Reference string
	Handler   string
	Files     []string
}

// Manifest is a parsed update manifest. Immutable.
type Manifest struct {
	Version       string // "4" or "5"
	ID            UpdateID
	Compatibility []map[string]string
	Steps         []Step
	Files         map[string]File // with the related files of version 5, by file id
	// Detached is the file that holds the real manifest; "" when this is it.
	Detached string
	Created  string
}

// HasChildren tells whether files of other manifests (of children, or of the
// detached one) are downloaded too; their ids are bound by the hash of a
// file named here, not by this text.
func (m *Manifest) HasChildren() bool {
	if m.Detached != "" {
		return true
	}
	for _, s := range m.Steps {
		if s.Reference != "" {
			return true
		}
	}
	return false
}

func malformed(format string, args ...any) error {
	return refuse(BadManifest, fmt.Sprintf(format, args...))
}

var topKeys = []string{"manifestVersion", "updateId", "compatibility", "instructions", "files", "createdDateTime", "detachedManifestFileId"}

// Parse reads a manifest of version 4 or 5 (docs/spec/device-update.md 3.7).
// Keys that are not known are ignored, as the agent does, unless they differ
// from a known one only by case.
func Parse(text []byte) (*Manifest, error) {
	v, err := strictjson.Parse(bytes.Clone(text), strictjson.Limits{Bytes: MaxManifest, Depth: 16, Values: 4096})
	if err != nil {
		return nil, malformed("%v", err)
	}
	if v.Kind() != strictjson.Object {
		return nil, malformed("not an object")
	}
	if err := exactKeys(v, topKeys...); err != nil {
		return nil, err
	}
	m := &Manifest{Version: str(v.Get("manifestVersion")), Created: str(v.Get("createdDateTime"))}
	if m.Version != "4" && m.Version != "5" {
		return nil, refuse(UnsupportedVersion, clip(m.Version))
	}
	if m.ID, err = parseID(v.Get("updateId")); err != nil {
		return nil, err
	}
	if err := m.readFiles(v.Get("files")); err != nil {
		return nil, err
	}
	if d := v.Get("detachedManifestFileId"); d.Kind() != strictjson.Absent {
		m.Detached = str(d)
		if _, ok := m.Files[m.Detached]; !ok {
			return nil, malformed("the detached manifest is not among the files")
		}
	}
	if err := m.readCompatibility(v.Get("compatibility")); err != nil {
		return nil, err
	}
	if err := m.readSteps(v.Get("instructions")); err != nil {
		return nil, err
	}
	return m, nil
}

func parseID(v strictjson.Value) (UpdateID, error) {
	if err := exactKeys(v, "provider", "name", "version"); err != nil {
		return UpdateID{}, err
	}
	u := UpdateID{str(v.Get("provider")), str(v.Get("name")), str(v.Get("version"))}
	for _, s := range []string{u.Provider, u.Name, u.Version} {
		if s == "" || len(s) > maxName || strings.ContainsFunc(s, func(r rune) bool { return r < 0x20 || r == '/' }) {
			return UpdateID{}, malformed("updateId is incomplete or malformed")
		}
	}
	return u, nil
}

func (m *Manifest) readFiles(v strictjson.Value) error {
	if v.Kind() != strictjson.Object || len(v.Members()) == 0 {
		return malformed("files is no object with files")
	}
	m.Files = map[string]File{}
	for _, f := range v.Members() {
		if err := m.readFile(f.Name, f.Value); err != nil {
			return err
		}
		switch related := f.Value.Get("relatedFiles"); related.Kind() {
		case strictjson.Absent, strictjson.Null:
		case strictjson.Object:
			for _, r := range related.Members() {
				if err := m.readFile(r.Name, r.Value); err != nil {
					return err
				}
			}
		default:
			return malformed("relatedFiles is no object")
		}
	}
	return nil
}

func (m *Manifest) readFile(id string, v strictjson.Value) error {
	if err := exactKeys(v, "fileName", "sizeInBytes", "hashes", "relatedFiles", "downloadHandler",
		"mimeType", "arguments", "properties"); err != nil {
		return err
	}
	f := File{ID: id, Name: str(v.Get("fileName"))}
	if id == "" || len(id) > 128 || f.Name == "" || len(f.Name) > maxName {
		return malformed("a file without id or name")
	}
	// The name becomes a path on the device.
	if strings.ContainsAny(f.Name, "/\\") || f.Name == "." || f.Name == ".." {
		return malformed("a file name leads elsewhere")
	}
	var ok bool
	if f.Size, ok = v.Get("sizeInBytes").Int(); !ok || f.Size < 0 {
		return malformed("a file without size")
	}
	hash, err := decodeAny(str(v.At("hashes", "sha256")))
	if err != nil || len(hash) != sha256.Size {
		return malformed("a file without SHA-256")
	}
	f.SHA256 = [sha256.Size]byte(hash)
	if old, dup := m.Files[id]; dup && old != f {
		return malformed("two files of one id")
	}
	if m.Files[id] = f; len(m.Files) > maxFiles {
		return malformed("more than %d files", maxFiles)
	}
	return nil
}

func (m *Manifest) readCompatibility(v strictjson.Value) error {
	if v.Kind() == strictjson.Absent && m.Detached != "" {
		return nil // a stub: the detached manifest has the steps
	}
	if v.Kind() != strictjson.Array || len(v.Items()) == 0 {
		return malformed("compatibility is no list")
	}
	for _, item := range v.Items() {
		entry := map[string]string{}
		for _, p := range item.Members() {
			s, ok := p.Value.Str()
			if !ok {
				return malformed("compatibility holds a value that is no text")
			}
			entry[p.Name] = s
		}
		if len(entry) == 0 {
			return malformed("empty compatibility entry")
		}
		m.Compatibility = append(m.Compatibility, entry)
	}
	return nil
}

func (m *Manifest) readSteps(v strictjson.Value) error {
	if v.Kind() == strictjson.Absent && m.Detached != "" {
		return nil
	}
	steps := v.Get("steps")
	if steps.Kind() != strictjson.Array || len(steps.Items()) == 0 || len(steps.Items()) > maxSteps {
		return malformed("want 1 to %d steps", maxSteps)
	}
	for _, s := range steps.Items() {
		if err := m.readStep(s); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manifest) readStep(s strictjson.Value) error {
	if err := exactKeys(s, "type", "handler", "files", "handlerProperties", "detachedManifestFileId", "description"); err != nil {
		return err
	}
	step := Step{Handler: str(s.Get("handler"))}
	kind := "inline"
	if t := s.Get("type"); t.Kind() != strictjson.Absent {
		kind = str(t)
	}
	switch kind {
	case "inline":
		if step.Handler == "" {
			return malformed("a step without handler")
		}
		for _, f := range s.Get("files").Items() {
			step.Files = append(step.Files, str(f))
		}
	case "reference":
		step.Reference = str(s.Get("detachedManifestFileId"))
		if _, ok := m.Files[step.Reference]; !ok {
			return malformed("a step refers to a file that is not listed")
		}
	default:
		return malformed("a step of unknown type")
	}
	for _, id := range step.Files {
		if _, ok := m.Files[id]; !ok {
			return malformed("a step needs a file that is not listed")
		}
	}
	m.Steps = append(m.Steps, step)
	return nil
}

// exactKeys refuses an object with a key that equals a known one but for case:
// some reader would take it for the known one.
func exactKeys(v strictjson.Value, known ...string) error {
	if v.Kind() != strictjson.Object {
		return malformed("an object is missing")
	}
	for _, m := range v.Members() {
		for _, k := range known {
			if m.Name != k && strings.EqualFold(m.Name, k) {
				return malformed("%q is not %q", clip(m.Name), k)
			}
		}
	}
	return nil
}
