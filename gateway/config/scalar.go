package config

import (
	"encoding"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func (d *decoder) scalar(n *yaml.Node, v reflect.Value, field string) {
	if n.Kind != yaml.ScalarNode {
		d.report(n.Line, field, "must be one value, not "+kindName(n), "write it on the line of its key")
		return
	}
	s := strings.TrimSpace(n.Value)
	switch t := v.Type(); {
	case t == durationType:
		x, err := ParseDuration(s)
		if err != nil {
			d.report(n.Line, field, err.Error(), "write a number with its unit: 500ms, 30s, 15m, 72h, 30d")
			return
		}
		v.SetInt(int64(x))
	case t == sizeType:
		x, err := ParseSize(s)
		if err != nil {
			d.report(n.Line, field, err.Error(), "write a whole number with its unit: 4096, 256 KiB, 64 MiB, 1 GiB")
			return
		}
		v.SetInt(int64(x))
	case t == fileType || t == secretType:
		d.file(n, v, field, s)
	case reflect.PointerTo(t).Implements(textType):
		if err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s)); err != nil {
			d.report(n.Line, field, err.Error(), "a GUID is 8-4-4-4-12 hexadecimal digits; a path is / or /{guid}/{guid}")
		}
	default:
		d.basic(n, v, field, s)
	}
}

func (d *decoder) basic(n *yaml.Node, v reflect.Value, field, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Bool:
		switch strings.ToLower(s) {
		case "true", "on", "yes":
			v.SetBool(true)
		case "false", "off", "no":
			v.SetBool(false)
		default:
			d.report(n.Line, field, fmt.Sprintf("%q is neither on nor off", clip(s)), "write on or off")
		}
	case reflect.Int:
		x, err := strconv.Atoi(s)
		if err != nil {
			d.report(n.Line, field, fmt.Sprintf("%q is no whole number", clip(s)), "write digits only")
			return
		}
		v.SetInt(int64(x))
	case reflect.Float64:
		x, err := strconv.ParseFloat(s, 64)
		if err != nil || x != x {
			d.report(n.Line, field, fmt.Sprintf("%q is no number", clip(s)), "write a number such as 5 or 0.5")
			return
		}
		v.SetFloat(x)
	default:
		// A programming error in the struct, not in the file; said plainly so
		// that the test that loads every file of configs/ finds it.
		d.report(n.Line, field, "has a type that configuration cannot hold: "+v.Type().String(), "report this as a bug")
	}
}

func (d *decoder) file(n *yaml.Node, v reflect.Value, field, s string) {
	if s == "" {
		v.SetString("")
		return
	}
	if v.Type() == secretType && looksLikeSecret(s) {
		// The text is not repeated: it may be the secret itself.
		d.report(n.Line, field, "must name a file that holds the secret, not hold the secret",
			d.src.place.Pasted())
		return
	}
	if d.src.elsewhere && strings.HasPrefix(s, credentialsVariable) && d.env("CREDENTIALS_DIRECTORY") == "" {
		d.src.unseen = append(d.src.unseen, field)
		v.SetString(filepath.Join(serviceCredentials, strings.TrimPrefix(s, credentialsVariable))) // never read here
		d.warn(n.Line, field, "was not looked at: "+clip(s)+" is a credential that systemd gives the service, and not this process", AsTheService)
		return
	}
	path, problem, hint := resolveFile(s, d.dir, d.env)
	if problem != "" {
		d.report(n.Line, field, problem, hint)
		return
	}
	v.SetString(path)
}

// serviceCredentials is where systemd puts the credentials of the packaged unit.
const serviceCredentials = "/run/credentials/gatehoused.service"

// AsTheService is how to check a configuration with the eyes of the packaged unit.
const AsTheService = "check it as the packaged unit would: " +
	"systemd-run -qP --wait -p User=gatehouse -p LoadCredential=secret:/etc/gatehouse/credentials /usr/bin/gatehoused -check"

// looksLikeSecret recognises PEM and base64 keys pasted where a path belongs.
func looksLikeSecret(s string) bool {
	if strings.Contains(s, "-----BEGIN") || strings.HasPrefix(s, "SharedAccess") || strings.HasPrefix(s, "HostName=") ||
		strings.HasPrefix(s, "eyJ") {
		return true
	}
	if strings.ContainsAny(s, "./$") && !strings.HasSuffix(s, "=") {
		return false
	}
	return strings.HasSuffix(s, "=") || len(s) >= 32
}

func kindName(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a section"
	case yaml.SequenceNode:
		return "a list"
	}
	return "a single value"
}

func join(field, key string) string {
	if field == "" {
		return key
	}
	return field + "." + key
}

func keysOf(t reflect.Type) []string {
	var keys []string
	for f := range t.Fields() {
		if f.Anonymous {
			keys = append(keys, keysOf(f.Type)...)
		} else if k := keyOf(f); k != "" {
			keys = append(keys, k)
		}
	}
	return keys
}

// keyOf is the key of a field in the file; "" when it has none.
func keyOf(f reflect.StructField) string {
	key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return key
}

// fieldByKey is the index of the field, through structs whose keys stand
// inline, for reflect.Value.FieldByIndex.
func fieldByKey(t reflect.Type, key string) ([]int, bool) {
	for f := range t.Fields() {
		if f.Anonymous {
			if inner, ok := fieldByKey(f.Type, key); ok {
				return append(slices.Clone(f.Index), inner...), true
			}
		} else if key != "" && keyOf(f) == key {
			return f.Index, true
		}
	}
	return nil, false
}

func unknownHint(key string, keys []string) string {
	best, distance := "", 3
	for _, k := range keys {
		if n := editDistance(strings.ToLower(key), strings.ToLower(k)); n < distance {
			best, distance = k, n
		}
	}
	if best != "" {
		return "did you mean " + best + "?"
	}
	return "known here: " + strings.Join(keys, ", ")
}

// editDistance is Levenshtein's, for short keys; long ones are far from everything.
func editDistance(a, b string) int {
	if len(a) > 40 || len(b) > 40 {
		return 40
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
