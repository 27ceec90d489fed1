package management

import (
	"net/http/httptest"
	"strings"
	"testing"
)

// A filter is read once, however many rows it is asked about.
func TestFiltersAreReadOnce(t *testing.T) {
	q, err := parseQuery(httptest.NewRequest("GET", "/sensors?hardwareIds="+strings.Repeat("h1,", 4000)+"Last;%20", nil))
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]bool{"H1": true, "last": true, "": false, "other": false} {
		if q.passes("hardwareIds", value) != want || !q.passes("ids", value) {
			t.Errorf("%q passes: %v, want %v; and without a filter: %v", value, !want, want, q.passes("ids", value))
		}
	}
	if n := testing.AllocsPerRun(100, func() { q.passes("hardwareIds", "other") }); n > 0 {
		t.Errorf("%v allocations for a row", n)
	}
}
