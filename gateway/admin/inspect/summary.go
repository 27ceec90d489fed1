package inspect

import (
	"fmt"
	"strings"
)

// Summary returns the state of the gateway in one line, for systemd's STATUS=: the version and
// the stage of the policy, the health with the names of its warnings and the text of the worst, and
// the state of the link upstream if there is one, as in "policy 1.42, fresh; health degraded:
// upstream-down (the link upstream to … has been down since …), listener-mqtts; upstream connecting".
// It reads the same values as Status, so that systemctl status and gatehousectl status
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
		if i == 0 && w.Text != "" {
			line += " (" + shortened(w.Text) + ")"
		}
	}
	if n.o.Uplink != nil {
		line += "; upstream " + n.upstreamState().State
	}
	return line
}

// shortened is a text of at most 300 characters: systemctl shows the line as it is, and a warning may name many things.
func shortened(text string) string {
	const most = 300
	if r := []rune(text); len(r) > most {
		return string(r[:most]) + "…"
	}
	return text
}

// maxNamed is how many warnings the line names at most. The worst come first.
const maxNamed = 3
