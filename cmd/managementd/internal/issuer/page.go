package issuer

import (
	"html/template"
	"net/http"
)

// pageFrame stands around every page. It says what this authority is, so that nobody types a real password here.
const pageFrame = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Development sign-in</title>
<meta name="viewport" content="width=device-width">
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:32rem;margin:3rem auto;padding:0 1rem;color:#222}
label{display:block;margin:.8rem 0}input{display:block;font:inherit;padding:.4rem;width:100%;box-sizing:border-box}
button{font:inherit;padding:.5rem 1rem;margin-right:.5rem}.note{background:#fff4d6;padding:.6rem}.wrong{color:#a00}</style></head>
<body><p class="note">This is a development token issuer. It is not Microsoft Entra: never enter a real password here.</p>
{{if .Wrong}}<p class="wrong">{{.Wrong}}</p>{{end}}{{template "body" .}}</body></html>`

func page(body string) *template.Template {
	return template.Must(template.Must(template.New("page").Parse(pageFrame)).New("body").Parse(body)).Lookup("page")
}

const signInFields = `<label>User <input name="username" autocomplete="username" autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password"></label>`

var (
	signInPage = page(`<h1>Sign in</h1><p>The application <b>{{.Client}}</b> asks for a token for <b>{{.Audience}}</b>.</p>
<form method="post">` + signInFields + `<button>Sign in</button>
<button name="cancel" value="1">Cancel</button></form>`)

	devicePage = page(`<h1>Sign in a device</h1><form method="post" action="/device">
{{if .Client}}<p>The application <b>{{.Client}}</b> asks for a token for <b>{{.Audience}}</b> in your name. Go on only if you
began this yourself, a moment ago.</p><input type="hidden" name="user_code" value="{{.Code}}">
` + signInFields + `<button>Approve</button> <button name="decline" value="1">Decline</button>
{{else}}<label>Code <input name="user_code" value="{{.Code}}" autofocus></label><button>Next</button>{{end}}</form>`)

	donePage = page(`{{if .Declined}}<h1>Declined</h1><p>The program gets nothing.</p>
{{else}}<h1>Approved</h1><p>The program goes on by itself. You may close this page.</p>{{end}}`)

	faultPage = page(`<h1>Refused</h1><p><b>AADSTS{{.Number}}</b>: {{.Text}}</p>`)

	postPage = page(`<form method="post" action="{{.To}}">{{range $name, $values := .Values}}
<input type="hidden" name="{{$name}}" value="{{index $values 0}}">{{end}}<button>Continue</button></form>`)
)

func showFault(w http.ResponseWriter, f *fault) {
	show(w, f.status, faultPage, map[string]any{"Number": f.number, "Text": f.text})
}

// show writes a page that runs no script, loads nothing, is framed by nobody, and leaves no trace in caches.
func show(w http.ResponseWriter, status int, t *template.Template, values map[string]any) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = t.Execute(w, values)
}
