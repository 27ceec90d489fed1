package console

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const chromium = "/usr/bin/chromium"

// gatewayDouble serves what the admin server serves beside the page: a status
// that moves with each request, and denials.
//
// The browser takes its picture at the load event, for which it needs the
// page's icon. That is answered once the script has asked for so many statuses
// after it was told of the denials: it asks for one when it has shown the last.
func gatewayDouble(t *testing.T, shown int) *httptest.Server {
	t.Helper()
	raw := sample(t)
	var polls atomic.Uint64
	told := make(chan struct{})
	tell := sync.OnceFunc(func() { close(told) })
	seen := make(chan struct{}, shown+1)
	status := func(context.Context) ([]byte, error) {
		var doc map[string]any
		if err := json.Unmarshal(raw, &doc); err != nil {
			return nil, err
		}
		n := polls.Add(1)
		m := doc["messages"].(map[string]any)
		m["accepted"], m["denied"] = 48213+n*60+(n*n*37)%113, 12+n/3*2
		return json.Marshal(doc)
	}
	mux := http.NewServeMux()
	page := serve(t, status)
	mux.Handle("/", page)
	mux.HandleFunc("/assets/icon.svg", func(w http.ResponseWriter, r *http.Request) {
		for range shown + 1 { // the first may have been sent before the denials were
			select {
			case <-seen:
			case <-r.Context().Done():
				return
			}
		}
		page.ServeHTTP(w, r)
	})
	mux.HandleFunc("/v1/status", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-told:
			select {
			case seen <- struct{}{}:
			default:
			}
		default:
		}
		b, err := status(r.Context())
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
		_, _ = w.Write(b)
	})
	mux.HandleFunc("/v1/audit", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("denied") != "true" {
			t.Error("the page asks for more than denials")
		}
		w.Header().Set("Content-Type", "text/event-stream")
		now := time.Now().UTC()
		const hostile = "<img src=x onerror=alert(1)>\u202e"
		for i, who := range []string{"device:thermostat-7", "user:7a1d0f8e-5b0c-4c55-9f0e-0d6a5c0e1001/4be2", hostile} {
			_, _ = fmt.Fprintf(w, `data: {"time":%q,"event":"publish","principal":%q,"topic":"devices/thermostat-%d/messages/events/",`+
				`"reason":"not-acting-for","detail":"the device names another gateway","count":%d}`+"\n\n",
				now.Add(time.Duration(i-3)*time.Second).Format(time.RFC3339Nano), who, i, 1+i*20)
		}
		_ = http.NewResponseController(w).Flush()
		tell()
		<-r.Context().Done()
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { srv.CloseClientConnections(); srv.Close() })
	return srv
}

func browse(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	if _, err := os.Stat(chromium); err != nil {
		t.Fatalf("%s is needed for this test: install the package chromium", chromium)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, chromium, append([]string{
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync",
		"--hide-scrollbars", "--enable-logging=stderr", "--v=0", "--user-data-dir=" + t.TempDir(),
	}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("chromium: %v\n%s", err, errs.String())
	}
	return out.String(), errs.String()
}

// TestBrowser runs the page in a real browser: the script must run under the
// page's policy, follow the status, and show markup that a client sent as text. With
// GATEHOUSE_SCREENSHOTS=DIR it leaves pictures there, light, dark and narrow.
func TestBrowser(t *testing.T) {
	if testing.Short() {
		t.Skip("a real browser takes seconds")
	}
	srv := gatewayDouble(t, 2)
	dom, console := browse(t, "--dump-dom", srv.URL+"/")
	for _, want := range []string{
		`device:thermostat-7`, `&lt;img src=x onerror=alert(1)&gt;\u{202e}`, `×41`,
		`id="live" data-state="connected"`, `id="lost" class="lost" hidden`,
		`<path id="spark-line" class="line" vector-effect="non-scaling-stroke" d="M`,
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("after some seconds the page does not show %q", want)
		}
	}
	if strings.Contains(dom, "<img src=x") {
		t.Error("a principal's name became markup")
	}
	if strings.Contains(dom, `id="rate" class="huge">–<`) {
		t.Error("no rate was computed")
	}
	for _, bad := range []string{"Content Security Policy", "Uncaught", "ERR_"} {
		if strings.Contains(console, bad) {
			t.Errorf("the browser complains (%s):\n%s", bad, console)
		}
	}
	if dir := os.Getenv("GATEHOUSE_SCREENSHOTS"); dir != "" {
		srv := gatewayDouble(t, 11)
		for name, args := range map[string][]string{
			"light":  {"--window-size=1280,1100"},
			"dark":   {"--window-size=1280,1100", "--force-dark-mode", "--blink-settings=preferredColorScheme=0"},
			"narrow": {"--window-size=500,1700"},
		} {
			browse(t, append(args, "--screenshot="+filepath.Join(dir, name+".png"), srv.URL+"/")...)
		}
	}
}
