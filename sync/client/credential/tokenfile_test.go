package credential

import (
	"errors"
	"testing"
)

// TestTokenFileIsReadAgain: the token in the file may have been renewed since the request that was
// refused, and is then used.
func TestTokenFileIsReadAgain(t *testing.T) {
	token, broken := "one", error(nil)
	f := TokenFile{Read: func() ([]byte, error) { return []byte(token), broken }}
	sent, err := f.Authorization(t.Context())
	if err != nil || sent != "Bearer one" {
		t.Fatalf("%q, %v", sent, err)
	}
	if f.Refused(sent) {
		t.Error("the same token is sent again")
	}
	token = "two"
	if !f.Refused(sent) {
		t.Error("the renewed token is not tried")
	}
	if sent, _ := f.Authorization(t.Context()); sent != "Bearer two" {
		t.Errorf("sent %q", sent)
	}
	if broken = errors.New("gone"); f.Refused(sent) {
		t.Error("a file that cannot be read is tried at once")
	}
}
