package site

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/gatehouse/gatehouse/device/credential/x509"
)

// A folder whose certificates have ended is not mended in half: its store holds their thumbprints.
func TestOldFolderIsRefused(t *testing.T) {
	s := &Site{Dir: t.TempDir()}
	if err := os.Mkdir(s.PKI(""), 0o700); err != nil {
		t.Fatal(err)
	}
	old := func() (x509.Pair, error) {
		return x509.NewSelfSigned("ups-1", time.Now().Add(-100*24*time.Hour), validity)
	}
	if _, err := s.pair("ups-1", old); err != nil {
		t.Fatal(err)
	}
	if _, err := s.pair("ups-1", old); err == nil || !strings.Contains(err.Error(), "make clean") {
		t.Errorf("got %v", err)
	}
}
