package message

import (
	"errors"
	"strings"
	"testing"
)

// Whatever a publisher chose counts: a quota that leaves something out is none.
func TestSizeCountsEverythingThatAPublisherChooses(t *testing.T) {
	long := strings.Repeat("x", 1000)
	for name, m := range map[string]*Message{
		"topic":             {Topic: long},
		"payload":           {Payload: []byte(long)},
		"content type":      {Props: Properties{ContentType: long}},
		"response topic":    {Props: Properties{ResponseTopic: long}},
		"correlation data":  {Props: Properties{CorrelationData: []byte(long)}},
		"user property":     {Props: Properties{User: []UserProperty{{"k", long}}}},
		"user property key": {Props: Properties{User: []UserProperty{{long, ""}}}},
		"property bag":      {Via: Route{Properties: []UserProperty{{"k", long}}}},
	} {
		if n := m.Size(); n < 1000 || n > 1100 {
			t.Errorf("%s: %d", name, n)
		}
	}
}

// A refusal that passes by is no reason for whoever sent the message to forget it.
func TestPassing(t *testing.T) {
	for code, want := range map[byte]bool{
		QuotaExceeded: true, ServerBusy: true, ServerUnavailable: true, ImplementationSpecificError: true, UnspecifiedError: true,
		NotAuthorized: false, TopicNameInvalid: false, PacketTooLarge: false, Banned: false,
	} {
		if got := (&Refused{Code: code}).Passing(); got != want {
			t.Errorf("0x%02x: %v", code, got)
		}
		if got := Final(&Refused{Code: code}); got == want {
			t.Errorf("final 0x%02x: %v", code, got)
		}
	}
	if !Final(nil) || Final(errors.New("x")) {
		t.Error("nil is final, an error that says nothing of itself is not")
	}
}
