package reference

import (
	"encoding/json"
	"strings"
)

// Schema is the JSON Schema (draft 7, which editors know best) of the file. It
// accepts what the decoder accepts in form: on and off are texts in YAML 1.2,
// and a section all of whose keys are commented out is null.
func Schema(title string, settings []*Setting) ([]byte, error) {
	s := object(settings)
	s["$schema"], s["title"] = "http://json-schema.org/draft-07/schema#", title
	s["type"] = "object"
	text, err := json.MarshalIndent(s, "", "  ")
	return append(text, '\n'), err
}

func object(settings []*Setting) map[string]any {
	properties, required := map[string]any{}, []string{}
	for _, s := range settings {
		p := property(s)
		p["description"] = s.Doc
		properties[s.Key] = p
		if s.Required || s.Kind == Section && !s.Absent && mustHave(s) {
			required = append(required, s.Key)
		}
	}
	o := map[string]any{"type": []string{"object", "null"}, "additionalProperties": false, "properties": properties}
	if len(required) > 0 {
		o["required"], o["type"] = required, "object"
	}
	return o
}

// mustHave tells whether a section has a key without a default.
func mustHave(s *Setting) bool {
	for _, c := range s.Children {
		if c.Required || c.Kind == Section && !c.Absent && mustHave(c) {
			return true
		}
	}
	return false
}

func property(s *Setting) map[string]any {
	switch {
	case s.Kind == Section:
		o := object(s.Children)
		if s.Absent {
			o["type"] = "object"
		}
		return o
	case s.Kind == Entries:
		item := object(s.Children)
		item["type"] = "object"
		list := map[string]any{"type": "array", "items": item}
		if s.Required {
			list["minItems"] = 1
		}
		return list
	case strings.HasPrefix(string(s.Kind), string(List)):
		return map[string]any{"type": "array", "items": scalar(s.Kind[len(List):], nil)}
	}
	choices := s.Choices
	if len(choices) > 0 && s.Default == `""` {
		choices = append([]string{""}, choices...)
	}
	p := scalar(s.Kind, choices)
	if pattern, ok := p["pattern"].(string); ok && s.Default == `""` && !s.Required {
		p["pattern"] = "^$|" + pattern
	}
	if !s.Required && s.Inherits == "" && s.Default != `""` {
		p["default"] = strings.Trim(s.Default, `"`)
	}
	return p
}

func scalar(k Kind, choices []string) map[string]any {
	if len(choices) > 0 {
		return map[string]any{"type": "string", "enum": choices}
	}
	switch k {
	case Switch:
		return map[string]any{"enum": []any{"on", "off", "yes", "no", true, false}}
	case Integer:
		return map[string]any{"type": "integer"}
	case Number:
		return map[string]any{"type": "number"}
	case Duration:
		return map[string]any{"type": "string", "pattern": `^([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*$`}
	case Size:
		return map[string]any{"type": []string{"string", "integer"}, "pattern": `^[0-9]+ *(KiB|MiB|GiB|kB|MB|GB|B)?$`}
	case GUID:
		return map[string]any{"type": "string", "pattern": `^ *[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12} *$`}
	}
	return map[string]any{"type": "string"}
}
