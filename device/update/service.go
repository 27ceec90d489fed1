package update

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// Names in a twin that carry actions (docs/spec/device-update.md 3.1, 6).
const (
	component         = "deviceUpdate"
	legacyComponent   = "azureDeviceUpdateAgent" // agents before 0.8
	diagnostics       = "diagnosticInformation"
	deviceInformation = "deviceInformation"
	noDeployment      = "nodeployment"
)

// The two action numbers there are.
const (
	applyNumber  = 3
	cancelNumber = 255
)

// Service is a parsed deviceUpdate.service.
type Service struct {
	Cancel            bool
	ID                string
	Retry             string // retryTimestamp, "" if none
	Manifest          string
	Signature         string
	FileURLs          strictjson.Value
	RootKeyPackageURL string
}

// ErrService is what every refusal to read a service wraps.
var ErrService = errors.New("malformed deviceUpdate.service")

func malformed(why string) error { return fmt.Errorf("%w: %s", ErrService, why) }

// ParseService reads deviceUpdate.service of a merged desired state. The
// action is the literal integer 3 or 255: an agent takes 3.7 for 3 and an
// absent one for "do not check the signature" (docs/spec/device-update.md 3.4).
func ParseService(v strictjson.Value) (Service, error) {
	if v.Kind() != strictjson.Object {
		return Service{}, malformed("not an object")
	}
	if err := exact(v, "workflow", "updateManifest", "updateManifestSignature", "fileUrls", "rootKeyPackageUrl"); err != nil {
		return Service{}, err
	}
	w := v.Get("workflow")
	if w.Kind() != strictjson.Object {
		return Service{}, malformed("no workflow")
	}
	if err := exact(w, "action", "id", "retryTimestamp"); err != nil {
		return Service{}, err
	}
	var s Service
	switch w.Get("action").Literal() {
	case "3":
	case "255":
		s.Cancel = true
	default:
		return Service{}, malformed("the action is not 3 or 255")
	}
	s.ID, _ = w.Get("id").Str()
	if s.ID == "" || !plain(s.ID) {
		return Service{}, malformed("the workflow has no proper id")
	}
	var ok bool
	if s.Retry, ok = optional(w.Get("retryTimestamp")); !ok || !plain(s.Retry) {
		return Service{}, malformed("the retry timestamp is no text")
	}
	if s.RootKeyPackageURL, ok = optional(v.Get("rootKeyPackageUrl")); !ok {
		return Service{}, malformed("rootKeyPackageUrl is no text")
	}
	if s.Cancel {
		return s, nil
	}
	if strings.EqualFold(s.ID, noDeployment) {
		return Service{}, malformed("an apply under the name of no deployment")
	}
	if s.Manifest, ok = v.Get("updateManifest").Str(); !ok || s.Manifest == "" {
		return Service{}, malformed("no updateManifest")
	}
	if s.Signature, ok = v.Get("updateManifestSignature").Str(); !ok || s.Signature == "" {
		return Service{}, malformed("no updateManifestSignature")
	}
	s.FileURLs = v.Get("fileUrls")
	return s, nil
}

// wants names what a service asks for. Two services that ask for the same are
// duplicates, whatever else they carry (docs/spec/semantics.md 5.3).
func (s Service) wants() string {
	if s.Cancel {
		return "cancel " + s.ID
	}
	return "apply " + s.ID + " " + s.Retry
}

func optional(v strictjson.Value) (string, bool) {
	if v.Kind() == strictjson.Absent || v.Kind() == strictjson.Null {
		return "", true
	}
	return v.Str()
}

func plain(s string) bool {
	return len(s) <= 256 && !strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// exact refuses keys that equal a known one but for case.
func exact(v strictjson.Value, known ...string) error {
	for _, m := range v.Members() {
		for _, k := range known {
			if m.Name != k && strings.EqualFold(m.Name, k) {
				return malformed("a key differs from " + k + " by case")
			}
		}
	}
	return nil
}

func member(name string, v strictjson.Value) strictjson.Member {
	return strictjson.Member{Name: name, Value: v}
}

// Value is the service as a device may see it. It holds only the members that
// were judged, so that nothing else gets through with them. A cancel carries no
// content at all.
func (s Service) Value() strictjson.Value {
	number := int64(applyNumber)
	if s.Cancel {
		number = cancelNumber
	}
	w := strictjson.ObjectValue(member("action", strictjson.IntValue(number)), member("id", strictjson.StringValue(s.ID)))
	if s.Retry != "" {
		w = w.With("retryTimestamp", strictjson.StringValue(s.Retry))
	}
	v := strictjson.ObjectValue(member("workflow", w))
	if !s.Cancel {
		v = v.With("updateManifest", strictjson.StringValue(s.Manifest)).
			With("updateManifestSignature", strictjson.StringValue(s.Signature))
		if s.FileURLs.Kind() == strictjson.Object {
			v = v.With("fileUrls", s.FileURLs)
		}
	}
	if s.RootKeyPackageURL != "" {
		v = v.With("rootKeyPackageUrl", strictjson.StringValue(s.RootKeyPackageURL))
	}
	return v
}
