package inspect

import (
	"fmt"
	"strings"
)

// Summary returns the state of the gateway in one line, for systemd's STATUS=: the version and
// the stage of the policy, the health with the names of its warnings, and the state of the link
// upstream if there is one, as in "policy 1.42, fresh; health degraded: listener-mqtts; upstream
// down". It reads the same values as Status, so that systemctl status and gatehousectl status
// cannot contradict each other.
func (n *Inspector) Summary() string {
	version := "none yet"
	if n.o.Policy.Registry() != nil {
		version = n.index().Version().String()
	}
	h := n.Health()
	line := fmt.Sprintf("policy %s, %s; health %s", version, n.o.Aging.Stage(), h.State)
	for i, w := range h.Warnings {
		if i == maxNamed {
			line += fmt.Sprintf(" and %d more", len(h.Warnings)-i)
			break
		}
		line += [2]string{": ", ", "}[min(i, 1)] + strings.ReplaceAll(w.Name, "\n", " ")
	}
	if n.o.Uplink != nil {
		line += "; upstream " + n.upstreamState().State
	}
	return line
}

// maxNamed is how many warnings the line names at most. The worst come first.
const maxNamed = 3
