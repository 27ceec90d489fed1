package admin

import (
	"regexp"
	"strings"
)

// Place is a space of the registry.
type Place struct {
	ID     string `json:"id"`
	Parent string `json:"parent,omitempty"` // empty: a root space
	Name   string `json:"name"`
}

// Places names spaces in texts for people: a space path of GUIDs becomes "Harbour House / Lobby".
type Places struct {
	names map[string]string // by id, in lower case
	twins map[string]bool   // ids of spaces beside which another one has the same name
}

// NewPlaces makes Places of the spaces that are known.
func NewPlaces(list []Place) *Places {
	p := &Places{names: map[string]string{}, twins: map[string]bool{}}
	first := map[[2]string]string{}
	for _, s := range list {
		id := strings.ToLower(s.ID)
		p.names[id] = s.Name
		key := [2]string{strings.ToLower(s.Parent), s.Name}
		if other, ok := first[key]; ok {
			p.twins[id], p.twins[other] = true, true
		} else {
			first[key] = id
		}
	}
	return p
}

var spacePath = regexp.MustCompile(`(?i)(?:/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})+`)

// Pathed reports whether Named may change the text.
func Pathed(text string) bool { return spacePath.MatchString(text) }

// Named returns the text with every space path in it written by names. A space that is not known keeps its
// id, and one that is named as another one beside it has its id behind its name. What only contains a path,
// as a topic (spaces/…) or an ARM scope does, stays.
func (p *Places) Named(text string) string {
	var b strings.Builder
	at := 0
	for _, m := range spacePath.FindAllStringIndex(text, -1) {
		if m[0] > 0 && partOfName(text[m[0]-1]) || m[1] < len(text) && partOfName(text[m[1]]) {
			continue
		}
		b.WriteString(text[at:m[0]])
		b.WriteString(p.path(text[m[0]:m[1]]))
		at = m[1]
	}
	return b.String() + text[at:]
}

// partOfName reports whether a path beside this character is a part of something longer.
func partOfName(c byte) bool {
	return c >= 0x80 || strings.IndexByte("/-_.+#", c) >= 0 || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

// path names one space path, from the first space on that is known: a gateway knows its site and what is
// below it, and not what its site lies in. It stays as it is if none of its spaces is known.
func (p *Places) path(ids string) string {
	var parts []string
	for _, id := range strings.Split(ids[1:], "/") {
		key := strings.ToLower(id)
		name := p.names[key]
		switch {
		case name == "" && parts == nil:
			continue
		case name == "":
			name = id
		case p.twins[key]:
			name += " (" + key + ")"
		}
		parts = append(parts, name)
	}
	if parts == nil {
		return ids
	}
	return strings.Join(parts, " / ")
}
