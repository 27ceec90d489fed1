package reference

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Violations says where a YAML document breaks a schema that Schema wrote. It
// knows those keywords only; it is for the tests of the schema.
func Violations(schema, document []byte) []string {
	var s map[string]any
	var doc any
	if err := json.Unmarshal(schema, &s); err != nil {
		return []string{err.Error()}
	}
	if err := yaml.Unmarshal(document, &doc); err != nil {
		return []string{err.Error()}
	}
	return violations(s, doc, "")
}

func violations(s map[string]any, v any, at string) []string {
	var found []string
	bad := func(format string, args ...any) { found = append(found, at+": "+fmt.Sprintf(format, args...)) }
	if t, ok := s["type"]; ok && !slices.Contains(texts(t), typeOf(v)) {
		bad("is %s, not %v", typeOf(v), t)
	}
	if list, ok := s["enum"].([]any); ok && !slices.ContainsFunc(list, func(x any) bool { return reflect.DeepEqual(x, v) }) {
		bad("is none of %v", list)
	}
	switch v := v.(type) {
	case string:
		if pattern, ok := s["pattern"].(string); ok && !regexp.MustCompile(pattern).MatchString(v) {
			bad("does not match %s", pattern)
		}
	case []any:
		item, _ := s["items"].(map[string]any)
		for i, x := range v {
			found = append(found, violations(item, x, fmt.Sprintf("%s[%d]", at, i))...)
		}
	case map[string]any:
		properties, _ := s["properties"].(map[string]any)
		for key, x := range v {
			if p, ok := properties[key].(map[string]any); ok {
				found = append(found, violations(p, x, strings.TrimPrefix(at+"."+key, "."))...)
			} else {
				bad("%s is not a key", key)
			}
		}
		for _, key := range texts(s["required"]) {
			if _, ok := v[key]; !ok {
				found = append(found, strings.TrimPrefix(at+"."+key, ".")+": is missing")
			}
		}
	}
	return found
}

func texts(v any) []string {
	if s, ok := v.(string); ok {
		return []string{s}
	}
	list, _ := v.([]any)
	out := make([]string, len(list))
	for i, x := range list {
		out[i], _ = x.(string)
	}
	return out
}

func typeOf(v any) string {
	switch v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case int:
		return "integer"
	case float64:
		return "number"
	case []any:
		return "array"
	case map[string]any:
		return "object"
	}
	return "string"
}
