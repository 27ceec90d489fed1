package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatehouse/gatehouse/cmd/internal/reference"
	"github.com/gatehouse/gatehouse/device/space"
	"github.com/gatehouse/gatehouse/gateway/config"
)

var updateDocs = flag.Bool("update-docs", false, "write what is made from the settings: make docs")

const referenceIntro = `# Configuration of gatehoused

Made from the program by ` + "`make docs`" + `; a test holds the two equal.
` + "`gatehoused -config FILE -check`" + ` reports every mistake at once, with its line and remedy. Unknown keys are mistakes;
a key of the release before is read, with a warning that shows what to write now.

| value | written as |
|---|---|
| duration | 500ms, 30s, 15m, 72h, 30d |
| size | bytes, or with a unit: 4096, 256 KiB, 64 MiB, 1 GiB |
| file | a path; a relative one starts in the directory of the configuration file |
| secret file | the same, never the secret itself; the file must not be readable for everyone |
| on or off | on, off, yes, no, true, false |

A path may begin with ` + "`${CREDENTIALS_DIRECTORY}`" + `, the directory of systemd's credentials: the packaged unit offers
each file FILE of /etc/gatehouse/credentials as ` + "`${CREDENTIALS_DIRECTORY}/secret_FILE`" + `.
` + "`[]`" + ` in a key stands for each entry of a list.`

const exampleHead = `# gatehoused: the gateway that guards one building.
# yaml-language-server: $schema=/usr/share/gatehouse/gatehoused.schema.json
#
# Check this file without starting anything:   gatehoused -config FILE -check
# Every mistake is reported at once with its line and remedy; the daemon then
# ends with code 78 and starts nothing. Unknown keys are mistakes.
#
# Every key stands here. A line "#key: value" shows the default: take away the # to
# change it. Lines that begin with "## " show what could stand there.
#
# Durations: 500ms 30s 15m 72h 30d.  Sizes: 4096, 256 KiB, 64 MiB, 1 GiB.
# Secrets are never written here: name a file (mode 0600), or a systemd
# credential as ${CREDENTIALS_DIRECTORY}/NAME; the packaged unit offers each file FILE of
# /etc/gatehouse/credentials as ${CREDENTIALS_DIRECTORY}/secret_FILE. Relative paths start
# in the directory of this file.
`

//go:generate go test -run TestReference -update-docs .

// TestReference: the page, the schema and the example are what the program says.
func TestReference(t *testing.T) {
	defaults := config.Default()
	settings, err := reference.Describe(&defaults, "../..")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := reference.Schema("gatehoused.yaml", settings)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "../../docs/reference/configuration.md", reference.Markdown(referenceIntro, settings))
	same(t, "../../configs/gatehoused.schema.json", schema)
	same(t, "../../configs/gatehoused.yaml", reference.Example(exampleHead, settings))
}

func same(t *testing.T, file string, want []byte) {
	t.Helper()
	if *updateDocs {
		if err := os.WriteFile(file, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s is not what the settings say; make docs writes it (-want +got)\n%s", file, diff)
	}
}

// TestExampleShowsTheDefaults: whoever takes away every # before a key changes nothing.
func TestExampleShowsTheDefaults(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/gatehoused.service")
	shipped := text(t, "../../configs/gatehoused.yaml")
	as := func(text string) config.Config {
		t.Helper()
		file := filepath.Join(t.TempDir(), "gatehoused.yaml")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c, problems := config.Load(file)
		for _, p := range append(problems, c.Warnings()...) {
			t.Error(p)
		}
		return c
	}
	open := regexp.MustCompile(`(?m)^( *)#([a-zA-Z_]+:)`).ReplaceAllString(shipped, "$1$2")
	if n := strings.Count(open, ":") - strings.Count(shipped, ":"); n != 0 || strings.Count(shipped, "#")-strings.Count(open, "#") < 80 {
		t.Fatal("too few defaults are commented out: the test would pass on nothing")
	}
	equal := cmp.Options{cmpopts.IgnoreUnexported(config.Config{}), cmpopts.EquateEmpty(), cmp.AllowUnexported(space.Path{})}
	if diff := cmp.Diff(as(shipped), as(open), equal); diff != "" {
		t.Errorf("what is commented out is not the default (-as it is +with every default)\n%s", diff)
	}
}

// TestExamplesCanBeRead: what the file only shows is in its place and has the right form.
func TestExamplesCanBeRead(t *testing.T) {
	shipped := text(t, "../../configs/gatehoused.yaml")
	blocks := regexp.MustCompile(`(?m)(^ *## .*\n)+`).FindAllString(shipped, -1)
	if len(blocks) < 5 {
		t.Fatalf("%d examples", len(blocks))
	}
	for _, block := range blocks {
		open := regexp.MustCompile(`(?m)^( *)## `).ReplaceAllString(block, "$1")
		key := regexp.MustCompile(`(?m)^ *([a-zA-Z]+:)`).FindStringSubmatch(open)[1]
		rest := strings.Replace(shipped, block, open, 1)
		file := filepath.Join(t.TempDir(), "gatehoused.yaml")
		if err := os.WriteFile(file, []byte(rest), 0o600); err != nil {
			t.Fatal(err)
		}
		t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/gatehoused.service")
		c := config.Default()
		for _, p := range config.Decode(file, &c) {
			t.Errorf("%s %v", key, p)
		}
	}
}

// TestSchemaAcceptsWhatIsGood: the schema takes every configuration that the program takes.
func TestSchemaAcceptsWhatIsGood(t *testing.T) {
	files, err := filepath.Glob("../../gateway/config/testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no configurations", err)
	}
	schema := text(t, "../../configs/gatehoused.schema.json")
	for _, f := range append(files, "../../configs/gatehoused.yaml") {
		for _, e := range reference.Violations([]byte(schema), []byte(text(t, f))) {
			t.Errorf("%s: %s", f, e)
		}
	}
	for document, want := range map[string]string{
		"instnace: {}":                         "instnace",
		"log: {level: loud}":                   "log.level",
		"offline: {stale: soon}":               "offline.stale",
		"limits: {maxFilters: many}":           "limits.maxFilters",
		"listeners: [{name: a}]":               "listeners[0].address",
		"state: {minFree: 1}":                  "state.dir",
		"access: {device_self_grant: maybe}":   "access.device_self_grant",
		"upstream: {as: {objectId: 12345678}}": "upstream.as.objectId",
	} {
		if got := fmt.Sprint(reference.Violations([]byte(schema), []byte(document))); !strings.Contains(got, want) {
			t.Errorf("%s: the schema says %s, nothing about %s", document, got, want)
		}
	}
}

// TestRequiredIsWhatIsMissing: what the page calls required is what an empty file lacks.
func TestRequiredIsWhatIsMissing(t *testing.T) {
	file := filepath.Join(t.TempDir(), "empty.yaml")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	_, problems := config.Load(file)
	missing := map[string]bool{}
	for _, p := range problems {
		missing[p.Field] = true
	}
	defaults := config.Default()
	settings, err := reference.Describe(&defaults, "../..")
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]bool{}
	var walk func([]*reference.Setting)
	walk = func(list []*reference.Setting) {
		for _, s := range list {
			if s.Required {
				required[s.Path] = true
			}
			if s.Kind == reference.Section && !s.Absent {
				walk(s.Children)
			}
		}
	}
	walk(settings)
	if !reflect.DeepEqual(required, missing) {
		t.Errorf("required %v, missing from an empty file %v", required, missing)
	}
}

func text(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
