package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Differences names the fields in which two configurations differ, in order.
func Differences(a, b *Config) []string {
	left, right := flat(a), flat(b)
	var list []string
	for field, value := range left {
		if other, ok := right[field]; !ok || other != value {
			list = append(list, field)
		}
	}
	for field := range right {
		if _, ok := left[field]; !ok {
			list = append(list, field)
		}
	}
	slices.Sort(list)
	return list
}

// flat is every value of a configuration by its field, as the file would name it.
func flat(c *Config) map[string]string {
	out := map[string]string{}
	text, err := c.YAML()
	var tree any
	if err == nil {
		err = yaml.Unmarshal(text, &tree)
	}
	if err != nil {
		out["configuration"] = err.Error() // a difference, rather than silence
	}
	flatten(tree, "", out)
	return out
}

func flatten(v any, at string, out map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for key, value := range v {
			flatten(value, strings.TrimPrefix(at+"."+key, "."), out)
		}
	case []any:
		for i, value := range v {
			flatten(value, fmt.Sprintf("%s[%d]", at, i), out)
		}
	default:
		out[at] = fmt.Sprint(v)
	}
}
