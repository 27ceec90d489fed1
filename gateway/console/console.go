// Package console is the status page: one embedded, read-only page with its script and style
// sheet. It loads nothing from any other host and works under a strict content security policy.
//
// The page is complete without its script. With it, the page reads v1/status every second and
// follows v1/audit, both of which the admin server serves beside it; the JSON of that API is
// all that the two packages share. The handler keeps no state between requests and may be used
// concurrently.
package console

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/gatehouse/gatehouse/gateway/printable"
)

//go:embed assets
var assets embed.FS

// policy is the page's Content-Security-Policy. The page may load its own files and talk to its
// own server. Inline scripts and styles, frames and forms are forbidden.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// StatusSource returns the status document as the admin server serves it.
type StatusSource func(context.Context) ([]byte, error)

type file struct {
	body []byte
	kind string
	etag string
}

type handler struct {
	status StatusSource
	log    *slog.Logger
	page   *template.Template
	files  map[string]file // by URL path
}

// New returns the page's handler. It fails only if a file is missing from the program or
// the page's template does not parse.
func New(status StatusSource, log *slog.Logger) (http.Handler, error) {
	h := &handler{status: status, log: log, files: map[string]file{}}
	page, err := template.New("page.html").Funcs(template.FuncMap{
		"age": age, "size": size, "count": count, "since": since, "percent": percent, "number": number, "epoch": epoch,
	}).ParseFS(assets, "assets/page.html")
	if err != nil {
		return nil, err
	}
	h.page = page
	kinds := map[string]string{".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}
	err = fs.WalkDir(assets, "assets", func(name string, d fs.DirEntry, err error) error {
		kind, serve := kinds[path.Ext(name)]
		if err != nil || d.IsDir() || !serve {
			return err
		}
		body, err := assets.ReadFile(name)
		sum := sha256.Sum256(body)
		h.files["/"+name] = file{body, kind, `"` + hex.EncodeToString(sum[:8]) + `"`}
		return err
	})
	return h, err
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Content-Security-Policy", policy)
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		http.Error(w, "this page is read-only", http.StatusMethodNotAllowed)
		return
	}
	if f, ok := h.files[r.URL.Path]; ok {
		head.Set("Content-Type", f.kind)
		head.Set("ETag", f.etag)
		head.Set("Cache-Control", "no-cache") // the browser asks each time, and gets 304 if nothing changed
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(f.body))
		return
	}
	if r.URL.Path != "/" {
		http.NotFound(w, r)
		return
	}
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Cache-Control", "no-store")
	var page bytes.Buffer
	if err := h.page.Execute(&page, h.view(r.Context())); err != nil {
		h.log.Error("status page", "err", err)
		http.Error(w, "the page could not be made; see the daemon's log", http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(page.Bytes())
}

func (h *handler) view(ctx context.Context) view {
	v := view{Stages: []string{"fresh", "stale", "restricted", "expired"}}
	b, err := h.status(ctx)
	if err == nil {
		b, err = plain(b)
	}
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		// The page is served nevertheless; it shows the failure and tries again.
		h.log.Error("status page", "err", err)
		v.Health.State = "unknown"
	}
	return v
}

// plain is a JSON document whose strings hold nothing that a terminal would obey: the page is also read by
// curl, and what reverses the direction of text would mislead in a browser.
func plain(document []byte) ([]byte, error) {
	d := json.NewDecoder(bytes.NewReader(document))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, err
	}
	return json.Marshal(plainValue(v))
}

func plainValue(v any) any {
	switch x := v.(type) {
	case string:
		return printable.Text(x)
	case []any:
		for i := range x {
			x[i] = plainValue(x[i])
		}
	case map[string]any:
		all := make(map[string]any, len(x))
		for key, value := range x {
			all[printable.Text(key)] = plainValue(value)
		}
		return all
	}
	return v
}

// age formats a number of seconds for people. The page's script follows the same rules.
func age(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < 0:
		return "0 s"
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %02d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d d %02d h", int(d.Hours())/24, int(d.Hours())%24)
}

func size(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// count formats n with a narrow space between thousands.
func count(n uint64) string {
	s := fmt.Sprint(n)
	var b strings.Builder
	for i, r := range s {
		if i > 0 && (len(s)-i)%3 == 0 {
			b.WriteString("\u202f")
		}
		b.WriteRune(r)
	}
	return b.String()
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return "since " + t.Local().Format("2006-01-02 15:04:05")
}

// number and epoch return the parts of a policy version "epoch.number". The number rises with
// every change; the epoch changes only with the management API server.
func number(version string) string {
	_, n, ok := strings.Cut(version, ".")
	if !ok {
		return "none"
	}
	return n
}

func epoch(version string) string {
	e, _, ok := strings.Cut(version, ".")
	if !ok {
		return ""
	}
	return " in epoch " + e
}

func percent(part, whole int64) int64 {
	if whole <= 0 || part <= 0 {
		return 0
	}
	return min(100, max(1, part*100/whole))
}
