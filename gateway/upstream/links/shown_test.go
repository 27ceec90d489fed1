package links

import "testing"

func TestShownURLHoldsNoSecret(t *testing.T) {
	for text, want := range map[string]string{
		"mqtts://broker.example.com:8883":                   "mqtts://broker.example.com:8883",
		"wss://broker.example.com/mqtt":                     "wss://broker.example.com/mqtt",
		"wss://u:s3cret@broker.example.com/mqtt?t=s3cret#s": "wss://broker.example.com/mqtt",
		"wss://bad.example.com/%zz?t=s3cret":                "",
	} {
		if got := shownURL(text); got != want {
			t.Errorf("%s is shown as %q, want %q", text, got, want)
		}
	}
}
