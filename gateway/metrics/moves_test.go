package metrics

import (
	"reflect"
	"testing"
)

// Each number of a Snapshot moves exactly one metric, and no metric stands still.
func TestEachMetricReadsItsOwnNumber(t *testing.T) {
	moved := map[string]string{}
	kind := reflect.TypeFor[Snapshot]()
	for i := range kind.NumField() {
		var s Snapshot
		switch f := reflect.ValueOf(&s).Elem().Field(i); f.Kind() {
		case reflect.Uint64:
			f.SetUint(1)
		case reflect.Int, reflect.Int64:
			f.SetInt(1)
		case reflect.Float64:
			f.SetFloat(1)
		case reflect.Bool:
			f.SetBool(true)
		default:
			continue // by label: TestScrape
		}
		n := 0
		for _, m := range readAtScrape {
			if m.read(&s) == m.read(&Snapshot{}) {
				continue
			}
			n++
			if other, twice := moved[m.name]; twice {
				t.Errorf("%s reads %s and %s", m.name, other, kind.Field(i).Name)
			}
			moved[m.name] = kind.Field(i).Name
		}
		if n != 1 {
			t.Errorf("%s moves %d metrics", kind.Field(i).Name, n)
		}
	}
	for _, m := range readAtScrape {
		if moved[m.name] == "" {
			t.Errorf("%s reads nothing", m.name)
		}
	}
}
