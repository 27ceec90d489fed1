package management

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/gatehouse/gatehouse/device/space"
)

// maxObjects is the published limit of one query (docs/spec/management-api.md 4.7).
const maxObjects = 1000

// query holds the parameters by their lower-case names. Unknown ones are
// ignored, as the original did; one that is given twice is refused.
type query struct {
	values map[string]string
	lists  map[string]map[string]bool // the parsed lists of filters: every row asks for the same ones
}

func parseQuery(r *http.Request) (query, error) {
	if len(r.URL.RawQuery) > maxQuery {
		return query{}, notFound("The query string is too long.")
	}
	// Lists may be separated by semicolons, which net/url refuses.
	values, err := url.ParseQuery(strings.ReplaceAll(r.URL.RawQuery, ";", "%3B"))
	if err != nil {
		return query{}, badRequest("The query string is malformed.")
	}
	q := query{map[string]string{}, map[string]map[string]bool{}}
	for name, list := range values {
		key := strings.ToLower(name)
		if _, twice := q.values[key]; twice || len(list) > 1 {
			return query{}, badRequest("The parameter %s is given twice.", clip(name))
		}
		q.values[key] = strings.TrimSpace(list[0])
	}
	return q, nil
}

func (q query) get(name string) string { return q.values[strings.ToLower(name)] }

// passes compares without regard to case; an absent filter lets everything pass.
func (q query) passes(name, value string) bool {
	set, asked := q.lists[name]
	if !asked {
		set = map[string]bool{}
		for _, s := range splitList(q.get(name)) {
			set[strings.ToLower(s)] = true
		}
		q.lists[name] = set
	}
	return len(set) == 0 || set[strings.ToLower(value)]
}

func (q query) passesID(name string, id space.ID) bool { return q.passes(name, id.String()) }

func splitList(s string) []string {
	var list []string
	for part := range strings.FieldsFuncSeq(s, func(r rune) bool { return r == ',' || r == ';' }) {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

func (q query) int(name string) (n int, given bool, err error) {
	text := q.get(name)
	if text == "" {
		return 0, false, nil
	}
	n, err = strconv.Atoi(text)
	if err != nil {
		return 0, false, badRequest("%s: a whole number is expected.", name)
	}
	return n, true, nil
}

// item is one row of a collection that passed all filters.
type item struct {
	id   space.ID
	name string
	show func() any
}

// page answers a collection: ordered, cut to $top and $skip, and refused when
// it would hold more than 1,000 objects. Without $orderby
// the order is that of items.
func (c *call) page(items []item) error {
	if c.query.get("$filter") != "" {
		return badRequest("$filter is not supported.")
	}
	field, direction, _ := strings.Cut(strings.ToLower(c.query.get("$orderby")), " ")
	switch field {
	case "":
	case "id":
		slices.SortStableFunc(items, func(a, b item) int { return compareID(a.id, b.id) })
	case "name":
		slices.SortStableFunc(items, func(a, b item) int { return strings.Compare(a.name, b.name) })
	default:
		return badRequest("$orderby: only Id and Name are supported.")
	}
	switch strings.TrimSpace(direction) {
	case "", "asc":
	case "desc":
		slices.Reverse(items)
	default:
		return badRequest("$orderby: asc or desc is expected.")
	}
	top, limited, err := c.query.int("$top")
	if err != nil {
		return err
	}
	skip, _, err := c.query.int("$skip")
	if err != nil {
		return err
	}
	if top < 0 || skip < 0 || top > maxObjects {
		return badRequest("$top must be 0 to %d, $skip must not be negative.", maxObjects)
	}
	items = items[min(skip, len(items)):]
	if limited {
		items = items[:min(top, len(items))]
	}
	if len(items) > maxObjects {
		return badRequest("The query returns more than %d objects. Use $top and $skip.", maxObjects)
	}
	out := make([]any, len(items))
	for i := range items {
		out[i] = items[i].show()
	}
	return c.ok(out)
}

// tree is the part of the space tree that a query asks for (docs/spec/management-api.md 4.2).
type tree struct {
	origin     space.Path // zero: the whole tree
	nowhere    bool       // spaceId names nothing
	down, up   bool
	min, max   int
	hasMin     bool
	hasMax     bool
	parentOnly bool // useParentSpace: the children of origin
}

func (c *call) tree() (tree, error) {
	var t tree
	base := 0
	if text := c.query.get("spaceId"); text != "" {
		id, err := space.ParseID(text)
		if err != nil {
			return tree{}, badRequest("spaceId: not a GUID.")
		}
		t.origin = c.state.path(id)
		t.nowhere = id.IsZero() || t.origin.IsZero()
		base = t.origin.Depth()
	}
	switch strings.ToLower(c.query.get("traverse")) {
	case "", "none":
	case "down":
		t.down = true
	case "up":
		t.up = true
	case "span":
		t.down, t.up = true, true
	default:
		return tree{}, badRequest("traverse: None, Down, Up or Span is expected.")
	}
	var err error
	if t.min, t.hasMin, err = c.query.int("minLevel"); err != nil {
		return tree{}, err
	}
	if t.max, t.hasMax, err = c.query.int("maxLevel"); err != nil {
		return tree{}, err
	}
	if strings.EqualFold(c.query.get("minRelative"), "true") {
		t.min += base
	}
	if strings.EqualFold(c.query.get("maxRelative"), "true") {
		t.max += base
	}
	t.parentOnly = strings.EqualFold(c.query.get("useParentSpace"), "true")
	return t, nil
}

func (t tree) holds(at space.Path) bool {
	level := at.Depth()
	if t.nowhere || at.IsZero() || t.hasMin && level < t.min || t.hasMax && level > t.max {
		return false
	}
	switch {
	case t.origin.IsZero(), t.origin == at:
		return true
	case t.down && t.origin.Covers(at), t.up && at.Covers(t.origin):
		return true
	}
	return false
}

func clip(s string) string {
	if len(s) > 64 {
		return s[:64] + "…"
	}
	return s
}
