package registry

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/gatehouse/gatehouse/device"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
)

// ErrRequest is wrapped by the error of every payload that is refused.
var ErrRequest = errors.New("bad request")

// The bounds of a create; the lengths are the management API's own.
const (
	maxPayload    = 4096
	maxHardwareID = 72
	maxName       = 64
	maxPort       = 20
)

func bad(field, why string) error { return fmt.Errorf("%w: %s %s", ErrRequest, field, why) }

// parseCreate reads the payload of a create: it is empty, or one strict JSON
// object whose keys are all known. No key chooses where the sensor goes.
func parseCreate(text []byte) (Attributes, error) {
	var a Attributes
	if len(text) == 0 {
		return a, nil
	}
	v, err := strictjson.Parse(text, strictjson.Limits{Bytes: maxPayload, Depth: 2, Values: 16, Key: 32})
	if err != nil {
		return a, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if v.Kind() != strictjson.Object {
		return a, bad("payload", "is not an object")
	}
	for _, m := range v.Members() {
		var err error
		switch m.Name {
		case "type":
			err = textOf(m, maxName, &a.Type)
		case "typeId":
			err = number(m, &a.TypeID)
		case "dataType":
			err = textOf(m, maxName, &a.DataType)
		case "dataTypeId":
			err = number(m, &a.DataTypeID)
		case "port":
			err = textOf(m, maxPort, &a.Port)
		case "pollRate":
			err = number(m, &a.PollRate)
		default:
			err = bad("payload", "holds a key that is not one of type, typeId, dataType, dataTypeId, port, pollRate")
		}
		if err != nil {
			return Attributes{}, err
		}
	}
	has := func(name string) bool { return v.Get(name).Kind() != strictjson.Absent }
	if has("type") && has("typeId") || has("dataType") && has("dataTypeId") {
		return Attributes{}, bad("payload", "names and numbers the same type")
	}
	return a, nil
}

func textOf(m strictjson.Member, most int, into *string) error {
	s, ok := m.Value.Str()
	switch {
	case !ok || s == "":
		return bad(m.Name, "is not a text")
	case utf8.RuneCountInString(s) > most:
		return bad(m.Name, fmt.Sprintf("is longer than %d characters", most))
	case strings.ContainsFunc(s, unicode.IsControl):
		return bad(m.Name, "holds a control character")
	}
	*into = s
	return nil
}

func number(m strictjson.Member, into *int) error {
	n, ok := m.Value.Int()
	if !ok || n < 0 || n > math.MaxInt32 {
		return bad(m.Name, "is not a whole number from 0 up")
	}
	*into = int(n)
	return nil
}

// checkHardwareID checks the form that the registry requires of an id, and the length that the
// management API allows.
func checkHardwareID(id string) error {
	if err := device.CheckID(id); err != nil {
		return fmt.Errorf("%w: hardware %w", ErrRequest, err)
	}
	if utf8.RuneCountInString(id) > maxHardwareID {
		return bad("hardware id", fmt.Sprintf("is longer than %d characters", maxHardwareID))
	}
	return nil
}
