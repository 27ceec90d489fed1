package update

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/gatehouse/gatehouse/device/twin"
	"github.com/gatehouse/gatehouse/device/twin/strictjson"
	"github.com/gatehouse/gatehouse/device/update/manifest"
)

// Whatever happens, in whatever order: the device sees nothing that was not
// offered with a good manifest; what it sees changes only while somebody may
// do that; a failing journal and a restart change nothing; and what everybody
// may do with a new id is seen at once.
func TestWhatTheDeviceSees(t *testing.T) {
	services := map[string]string{"cancel": cancelService}
	for _, id := range []string{"w1", "w2"} {
		for _, ts := range []string{"", "t1", "t2"} {
			services[id+ts] = applyService(id, ts, "1."+id[1:])
		}
	}
	services["bad"] = `{"workflow":{"action":3,"id":"bad","retryTimestamp":null},` +
		`"updateManifest":"{}","updateManifestSignature":"x","fileUrls":null}`
	names := []string{"cancel", "w1", "w1t1", "w1t2", "w2", "w2t1", "w2t2", "bad"}
	rapid.Check(t, func(r *rapid.T) {
		b := newBench(t, nil)
		shown, fresh := "-", 0
		look := func(present bool) {
			asked := len(b.asked)
			view := b.look(present)
			got := sees(view)
			s := view.Desired.Value.At("deviceUpdate", "service")
			if a := s.At("workflow", "action").Literal(); got != "-" && a == "3" {
				text, _ := s.Get("updateManifest").Str()
				sig, _ := s.Get("updateManifestSignature").Str()
				if _, _, err := b.o.Verifier.Verify([]byte(text), sig); err != nil {
					r.Fatalf("%s is shown: %v", got, err)
				}
			}
			if got != shown && got != "-" {
				if b.broken {
					r.Fatalf("%q became %q without a journal", shown, got)
				}
				action := Create
				switch {
				case s.At("workflow", "action").Literal() == "255":
					action = Cancel
				case s.At("workflow", "retryTimestamp").Kind() == strictjson.String && len(b.asked) > asked:
					action = b.asked[len(b.asked)-1]
				}
				if _, no := b.denied[action]; no && len(b.asked) > asked {
					r.Fatalf("%q became %q although %s is denied", shown, got, action)
				}
				if len(b.asked) == asked {
					r.Fatalf("%q became %q and nobody was asked", shown, got)
				}
			}
			shown = got
		}
		r.Repeat(map[string]func(*rapid.T){
			"offer": func(r *rapid.T) {
				service := services[rapid.SampledFrom(names).Draw(r, "service")]
				b.desired = strictjson.Merge(b.desired, js(t, `{"deviceUpdate":{"__t":"c","service":`+service+`}}`))
				b.version++
				look(rapid.Bool().Draw(r, "present"))
			},
			"fresh": func(r *rapid.T) {
				fresh++
				id := fmt.Sprintf("n%d", fresh)
				b.desired = strictjson.Merge(b.desired, js(t, `{"deviceUpdate":{"service":`+applyService(id, "", "1.3")+`}}`))
				b.version++
				before := shown
				look(true)
				_, no := b.denied[Create]
				if want := "3 " + id; !no && !b.broken && shown != want {
					r.Fatalf("sees %q, want %q", shown, want)
				} else if (no || b.broken) && shown == want {
					r.Fatalf("%q became %q: denied %v, broken %v", before, shown, no, b.broken)
				}
			},
			"look": func(*rapid.T) { look(true) },
			"withdraw": func(*rapid.T) {
				b.desired = strictjson.Merge(b.desired, js(t, `{"deviceUpdate":null}`))
				b.version++
				look(true)
			},
			"deny": func(r *rapid.T) {
				b.denied[rapid.SampledFrom([]Action{Create, Cancel, Retry}).Draw(r, "action")] = unauthorised
			},
			"hold": func(r *rapid.T) { b.denied[Create] = Decision{Hold: true, Reason: "held"} },
			"grant": func(r *rapid.T) {
				delete(b.denied, rapid.SampledFrom([]Action{Create, Cancel, Retry}).Draw(r, "action"))
			},
			"disk": func(r *rapid.T) { b.broken = rapid.Bool().Draw(r, "broken") },
			"time": func(*rapid.T) { b.now = b.now.Add(2 * time.Hour) },
			"report": func(r *rapid.T) {
				if b.broken {
					return
				}
				b.report(
					fmt.Sprintf(
						`{"state":%d,"workflow":{"id":%q},"lastInstallResult":{"resultCode":700},`+
							`"installedUpdateId":"{\"provider\":\"Contoso\",\"name\":\"T\",\"version\":\"1.1\"}"}`,
						rapid.SampledFrom([]int{0, 6, 255}).Draw(r, "state"),
						rapid.SampledFrom([]string{"w1", "w2", "nodeployment"}).Draw(r, "id"),
					),
				)
			},
			"restart": func(*rapid.T) { b.restart() },
		})
	})
}

// bodies are twin documents as they travel, and what the guard makes of them.
type bodies struct {
	dir                        string
	deployment, cancel, report string
	roots                      []manifest.RootKey // none: those of production
	sees                       string             // the action and the workflow of the deployment
	installed, workflow        string             // what is reported
}

// A deployment, the cancel and a report that were written down: the project's own, and the genuine ones
// under production roots where these lie beside the repository.
func TestGenuineBodies(t *testing.T) {
	const own = "manifest/testdata/samples"
	keys, err := os.ReadFile(filepath.Join(own, "rootkeys", "own.jwk.json"))
	if err != nil {
		t.Fatal(err)
	}
	roots, err := manifest.ParseRoots(keys)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("own", func(t *testing.T) {
		checkBodies(t, bodies{
			dir:        filepath.Join(own, "payloads"),
			deployment: "deployment.json",
			cancel:     "cancel.json",
			report:     "report.json",
			roots:      roots,
			sees:       "3 6d1f3f1c-0000-4000-8000-000000000003",
			installed:  "Contoso/Thermostat/1.1",
			workflow:   "6d1f3f1c-0000-4000-8000-000000000003",
		})
	})
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for ; dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		payloads := filepath.Join(filepath.Dir(dir), "shared", "vectors", "device-update", "payloads")
		if _, err := os.Stat(payloads); err != nil {
			continue
		}
		t.Run("genuine", func(t *testing.T) {
			checkBodies(t, bodies{
				dir:        payloads,
				deployment: "netxduo-g_adu_agent_new_udpate_1.json",
				cancel:     "netxduo-g_adu_agent_cancel_update.json",
				report:     "netxduo-g_adu_agent_response_success.json",
				sees:       "3 25ed0df8-4e9a-42d8-bde6-cf78c1c1555c",
				installed:  "Contoso/IoTDevice/7.0.1",
				workflow:   "6b831565-bd1c-4b84-995a-f2ab4e6a4bb1",
			})
		})
		return
	}
}

func checkBodies(t *testing.T, s bodies) {
	t.Helper()
	read := func(name string) []byte {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(s.dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	b := newBench(t, func(o *Options) { o.Verifier = manifest.NewVerifier(manifest.Options{Roots: s.roots}) })
	desired := twin.Empty()
	for _, c := range []struct{ file, want string }{{s.deployment, s.sees}, {s.cancel, "255 nodeployment"}} {
		patch, err := twin.ParsePatch(read(c.file))
		if err != nil {
			t.Fatal(err)
		}
		desired = desired.Merge(patch)
		v, err := b.guard.Desired(t.Context(), "d1", desired, true)
		if err != nil {
			t.Fatal(err)
		}
		b.wantSees(v, c.want)
	}
	report, err := twin.ParsePatch(read(s.report))
	if err != nil {
		t.Fatal(err)
	}
	r := ParseReport(report.Value.At("deviceUpdate", "agent"))
	if r.State != 0 || r.Result != 700 || r.Installed != s.installed || r.Workflow != s.workflow {
		t.Errorf("%+v", r)
	}
}
