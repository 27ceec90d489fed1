package config

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// CheckFiles looks at every file that the configuration names (state.dir,
// admin.socket and audit.file, which the daemon makes itself, excepted): it
// must exist and be readable, and a secret must not be readable for everyone. A
// secret that is read before each use (readAtUse) and is not there yet is a warning.
func (c *Config) CheckFiles() []Problem {
	var ps []Problem
	walk(reflect.ValueOf(c).Elem(), "", "", func(field string, _ reflect.StructTag, v reflect.Value) {
		path := v.String()
		switch {
		case path == "", slices.Contains(c.Unseen(), field):
		case v.Type() == secretType:
			if why := readable(path); why != "" {
				p := c.Problem(field, fmt.Sprintf("%s: %s", path, why), c.Place().Secret(path))
				p.Warning = readAtUse(field) && absent(path)
				ps = append(ps, p)
			} else if info, err := os.Stat(path); err == nil && secretMode(info) != "" {
				ps = append(ps, c.Problem(field, path+": "+secretMode(info), "chmod 0600 "+path))
			}
		case v.Type() == fileType && field != "state.dir" && field != "admin.socket" && field != "audit.file":
			if why := readable(path); why != "" {
				ps = append(ps, c.Problem(field, fmt.Sprintf("%s: %s", path, why), c.Place().File()))
			}
		}
	})
	sortProblems(ps)
	return ps
}

// readAtUse tells that the daemon reads the secret of a field before each use. The file may
// therefore be missing at start: if another program writes it later, no restart is needed.
func readAtUse(field string) bool {
	return strings.HasSuffix(field, ".credential.tokenFile") ||
		strings.HasSuffix(field, ".credential.clientSecret") ||
		strings.HasSuffix(field, ".credential.key") ||
		strings.HasSuffix(field, ".credential.sasKey") ||
		field == "upstream.mqtt.password"
}

func absent(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

func readable(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return plain(err)
	}
	defer func() { _ = f.Close() }()
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return "is a directory"
	}
	return ""
}

// Redacted is a copy that may be shown: secret files have only their base name, and URLs
// only scheme, host and path.
func (c *Config) Redacted() Config {
	out := *c
	out.src = nil
	v := reflect.ValueOf(&out).Elem()
	detach(v)
	walk(v, "", "", func(field string, _ reflect.StructTag, v reflect.Value) {
		switch {
		case v.Type() == secretType && v.String() != "":
			v.SetString("[secret file " + v.String()[strings.LastIndexByte(v.String(), '/')+1:] + "]")
		case v.Kind() == reflect.String && (holdsURL.MatchString(field) || strings.Contains(v.String(), "://")):
			v.SetString(redactedURL(v.String()))
		}
	})
	return out
}

// holdsURL matches the fields that are URLs, or lists of them.
var holdsURL = regexp.MustCompile(`(?i)(url|endpoint|issuers\[\d+\]|origins\[\d+\])$`)

// redactedURL is a URL without user info, query and fragment. A text that is no URL with a host
// is not shown at all if it may contain one of these.
func redactedURL(text string) string {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "" && strings.ContainsAny(text, "@?#"):
		return "[redacted]"
	case u.User != nil || u.RawQuery != "" || u.Fragment != "":
		u.User, u.RawQuery, u.Fragment = nil, "", ""
		return u.String()
	}
	return text
}

// YAML writes the configuration as a file that Load reads back.
func (c *Config) YAML() ([]byte, error) { return yaml.Marshal(c) }

// walk visits every value that holds no further ones, with its field's name
// and the tags of the struct field that holds it or the list that it is in.
func walk(v reflect.Value, field string, tag reflect.StructTag, visit func(string, reflect.StructTag, reflect.Value)) {
	switch {
	case v.Kind() == reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), field, tag, visit)
		}
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			walk(v.Index(i), fmt.Sprintf("%s[%d]", field, i), tag, visit)
		}
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Anonymous {
				walk(v.Field(i), field, f.Tag, visit)
			} else if key := keyOf(f); key != "" {
				walk(v.Field(i), join(field, key), f.Tag, visit)
			}
		}
	default:
		visit(field, tag, v)
	}
}

// detach copies every slice and pointer below v, so that a redaction does not
// reach into the original.
func detach(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			p := reflect.New(v.Type().Elem())
			p.Elem().Set(v.Elem())
			detach(p.Elem())
			v.Set(p)
		}
	case reflect.Slice:
		if !v.IsNil() {
			s := reflect.MakeSlice(v.Type(), v.Len(), v.Len())
			reflect.Copy(s, v)
			for i := range s.Len() {
				detach(s.Index(i))
			}
			v.Set(s)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.Anonymous || keyOf(f) != "" {
				detach(v.Field(i))
			}
		}
	}
}
