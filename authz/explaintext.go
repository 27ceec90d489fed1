package authz

import (
	"fmt"
	"strings"
)

// Text is the explanation in lines for people.
func (x *Explanation) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s at %s (%s, policy %s)\n", x.verdict(), x.Need, x.At, x.Reason, x.Version)
	for i := range x.Granting {
		fmt.Fprintf(&b, "  granted: %s\n", granted(&x.Granting[i]))
	}
	if x.Denial != "" {
		fmt.Fprintf(&b, "  denied: %s\n", x.Denial)
	}
	if !x.Allowed {
		for i := range x.Misses {
			fmt.Fprintf(&b, "  near miss: %s\n", x.Misses[i].Detail)
		}
		if len(x.OneOf) > 0 {
			fmt.Fprintf(&b, "  would need one of: %s\n", strings.Join(x.OneOf, ", "))
		}
	}
	return b.String()
}

// Tree is the explanation as a tree for people.
func (x *Explanation) Tree() string {
	type branch struct {
		label  string
		leaves []string
	}
	var branches []branch
	if x.Denial != "" {
		branches = append(branches, branch{"deny assignment", []string{x.Denial}})
	}
	if len(x.Granting) > 0 {
		leaves := make([]string, len(x.Granting))
		for i := range x.Granting {
			leaves[i] = granted(&x.Granting[i])
		}
		branches = append(branches, branch{"grants", leaves})
	}
	if !x.Allowed {
		if len(x.Misses) > 0 {
			leaves := make([]string, len(x.Misses))
			for i := range x.Misses {
				leaves[i] = fmt.Sprintf("%s (%s)", x.Misses[i].Detail, x.Misses[i].Why)
			}
			branches = append(branches, branch{"near misses", leaves})
		}
		if len(x.OneOf) > 0 {
			branches = append(branches, branch{"would need one of", x.OneOf})
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s at %s: %s (policy %s)\n", x.verdict(), x.Need, x.At, x.Reason, x.Version)
	for i, br := range branches {
		fork, rail := "├─ ", "│  "
		if i == len(branches)-1 {
			fork, rail = "└─ ", "   "
		}
		b.WriteString(fork + br.label + "\n")
		for j, leaf := range br.leaves {
			twig := "├─ "
			if j == len(br.leaves)-1 {
				twig = "└─ "
			}
			b.WriteString(rail + twig + leaf + "\n")
		}
	}
	return b.String()
}

func (x *Explanation) verdict() string {
	if x.Allowed {
		return "ALLOW"
	}
	return "DENY"
}

func granted(g *Grant) string {
	return fmt.Sprintf("%s at %s by assignment %s to %s", g.RoleLabel(), g.Place(), g.Assignment, g.Holder())
}
