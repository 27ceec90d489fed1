package main

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/gatehouse/gatehouse/cmd/internal/reference"
	"github.com/gatehouse/gatehouse/gateway/config"
)

var updateDocs = flag.Bool("update-docs", false, "write what is made from the settings: make docs")

const referenceIntro = `# Configuration of managementd

Made from the program by ` + "`make docs`" + `; a test holds the two equal.
` + "`managementd -config FILE -check`" + ` reports every mistake at once. ` +
	`Values are written as in [the configuration of gatehoused](configuration.md).`

const exampleHead = `# managementd: the cloud side on one machine (management API, development
# token issuer, development IoT Hub), for trying and testing Gatehouse.
# yaml-language-server: $schema=/usr/share/gatehouse/managementd.schema.json
#
# Check this file without starting anything:   managementd -config FILE -check
# Secrets are named by file, never written here; relative paths start in the
# directory of this file.
#
# Every key stands here. A line "#key: value" shows the default: take away the # to
# change it. Lines that begin with "## " show what could stand there.
`

//go:generate go test -run TestReference -update-docs .

// TestReference: the page, the schema and the example are what the program says.
func TestReference(t *testing.T) {
	s := defaults()
	list, err := reference.Describe(&s, "../..")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := reference.Schema("managementd.yaml", list)
	if err != nil {
		t.Fatal(err)
	}
	example := reference.Example(exampleHead, list)
	for file, want := range map[string][]byte{
		"../../docs/reference/managementd.md":   reference.Markdown(referenceIntro, list),
		"../../configs/managementd.schema.json": schema,
		"../../configs/managementd.yaml":        example,
	} {
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
	for _, v := range reference.Violations(schema, example) {
		t.Error(v)
	}
}

// TestExampleShowsTheDefaults: whoever takes away every # before a key changes
// nothing, and what the file only shows has the right form.
func TestExampleShowsTheDefaults(t *testing.T) {
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/managementd.service")
	shipped, err := os.ReadFile("../../configs/managementd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	as := func(text []byte) settings {
		t.Helper()
		file := filepath.Join(t.TempDir(), "managementd.yaml")
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
		s := defaults()
		for _, p := range config.Decode(file, &s) {
			t.Error(p)
		}
		return s
	}
	open := regexp.MustCompile(`(?m)^( *)#([a-zA-Z_]+:)`).ReplaceAll(shipped, []byte("$1$2"))
	if len(shipped)-len(open) < 10 {
		t.Fatal("too few defaults are commented out: the test would pass on nothing")
	}
	if diff := cmp.Diff(as(shipped), as(open), cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("what is commented out is not the default (-as it is +with every default)\n%s", diff)
	}
	as(regexp.MustCompile(`(?m)^( *)## `).ReplaceAll(shipped, []byte("$1")))
}
