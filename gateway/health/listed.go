package health

import (
	"fmt"
	"strings"
)

// Listed is the text of a warning about several things: how many there are of
// what, and the first five of them.
func Listed[T fmt.Stringer](what string, all []T) string {
	const most = 5
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s: ", len(all), what)
	for i := range all {
		if i == most {
			fmt.Fprintf(&b, " … and %d more", len(all)-most)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(all[i].String())
	}
	return b.String()
}
