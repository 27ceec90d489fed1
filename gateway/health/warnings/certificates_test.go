package warnings

import (
	"slices"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/health"
)

func TestLeft(t *testing.T) {
	for left, want := range map[time.Duration]string{
		90*24*time.Hour + time.Hour: "90 days",
		48 * time.Hour:              "2 days",
		47 * time.Hour:              "47 hours",
		23*time.Hour + time.Minute:  "23 hours",
		59 * time.Minute:            "0 hours",
	} {
		if got := Left(left); got != want {
			t.Errorf("%s: %s, want %s", left, got, want)
		}
	}
}

// Being throttled by the cloud is told apart from any other failure, and both end.
func TestCloudSyncAndThrottling(t *testing.T) {
	h := health.New(nil)
	raised := func() (names []string) {
		for _, w := range h.Report().Warnings {
			if names = append(names, w.Name); w.Text == "" || w.Next == "" {
				t.Errorf("%+v", w)
			}
		}
		return names
	}
	for _, c := range []struct {
		raised bool
		code   string
		want   []string
	}{
		{true, "unreachable", []string{"cloud-sync"}}, {true, "throttled", []string{"cloud-throttled"}},
		{true, "forbidden", []string{"cloud-sync"}}, {false, "ok", nil}, {true, "throttled", []string{"cloud-throttled"}}, {false, "", nil},
	} {
		CloudSync(h, c.raised, c.code, "GET /spaces")
		if got := raised(); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.code, got, c.want)
		}
	}
}
