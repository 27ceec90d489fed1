package upstream

import (
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/gateway/message"
)

// What is stored says when it came by the time that is believed, not by a wall
// clock that stood at 1970: over a restart it would seem to be 50 years old.
func TestMessagesAreStampedByTheBelievedTime(t *testing.T) {
	believed := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	wall := time.Unix(60, 0)
	m := &message.Message{Accepted: wall, Expires: wall.Add(time.Hour)}
	got := stamped(m, believed)
	if !got.Accepted.Equal(believed) || !got.Expires.Equal(believed.Add(time.Hour)) {
		t.Errorf("accepted %v, expires %v", got.Accepted, got.Expires)
	}
	if !m.Accepted.Equal(wall) {
		t.Error("the message was changed under its other readers")
	}
	m = &message.Message{Accepted: believed.Add(-time.Second)}
	if stamped(m, believed) != m {
		t.Error("a right clock costs a copy")
	}
}
