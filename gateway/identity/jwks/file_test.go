package jwks

import (
	"context"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gatehouse/gatehouse/gateway/config"
)

// TestTheFileOfTheKeysMayComeLater: until it can be used no token is believed and the reason is reported; then it is
// read without a restart.
func TestTheFileOfTheKeysMayComeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "keys.json")
		var said error
		k, err := New(Options{
			Source:  config.JWKS{File: config.File(file)},
			Client:  &http.Client{},
			Bucket:  memoryBucket{},
			Absent:  errAbsent,
			Log:     slog.New(slog.DiscardHandler),
			Report:  func(err error) { said = err },
			Changed: func() { t.Error("nobody was proved by a key before") },
		})
		if err != nil || said == nil || !k.Waits() || k.Keys().Len() != 0 {
			t.Fatalf("without the file: %v, reported %v, waits %v", err, said, k.Waits())
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- k.Run(ctx) }()
		for _, step := range []struct {
			text []byte
			keys int
		}{{nil, 0}, {[]byte(`{"keys":[]}`), 0}, {[]byte(`{"ke`), 0}, {keySet(t), 1}} {
			if err := os.WriteFile(file, step.text, 0o600); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			synctest.Wait()
			if n := k.Keys().Len(); n != step.keys || (said == nil) != (n > 0) || k.Waits() != (n == 0) {
				t.Errorf("%q: %d keys, reported %v, waits %v", step.text, n, said, k.Waits())
			}
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}
