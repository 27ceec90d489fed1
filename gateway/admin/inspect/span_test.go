package inspect

import (
	"testing"
	"time"
)

func TestSpan(t *testing.T) {
	for left, want := range map[time.Duration]string{
		90*24*time.Hour + time.Hour: "90 days",
		48 * time.Hour:              "2 days",
		47 * time.Hour:              "47 hours",
		23*time.Hour + time.Minute:  "23 hours",
		59 * time.Minute:            "0 hours",
	} {
		if got := span(left); got != want {
			t.Errorf("%s: %s, want %s", left, got, want)
		}
	}
}
