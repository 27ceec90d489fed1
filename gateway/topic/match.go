package topic

import "strings"

// Match tells whether the name is one that the filter asks for.
func Match(filter, name string) bool {
	for first := true; ; first = false {
		f, frest, fmore := Cut(filter)
		n, nrest, nmore := Cut(name)
		switch f {
		case "#":
			return !first || !hidden(n)
		case "+":
			if first && hidden(n) {
				return false
			}
		default:
			if f != n {
				return false
			}
		}
		switch {
		case !fmore && !nmore:
			return true
		case !nmore: // a/# includes a
			return frest == "#"
		case !fmore:
			return false
		}
		filter, name = frest, nrest
	}
}

// Contains tells whether every name that inner matches is matched by outer.
// It is exact: names are drawn from an unbounded alphabet, so a wildcard is
// contained only in a wildcard.
func Contains(outer, inner string) bool {
	for first := true; ; first = false {
		o, orest, omore := Cut(outer)
		i, irest, imore := Cut(inner)
		switch {
		case o == "#":
			return !first || !hidden(i)
		case i == "#":
			// A name has at least one level, so in first place # says no
			// more than +/#. Further down a/# also matches a itself.
			return first && o == "+" && omore && orest == "#"
		case o == "+":
			if first && hidden(i) {
				return false
			}
		case o != i: // a literal never holds all that a + may be
			return false
		}
		switch {
		case !omore && !imore:
			return true
		case !imore:
			return orest == "#"
		case !omore:
			return false
		}
		outer, inner = orest, irest
	}
}

// Overlaps tells whether any name is matched by both filters.
func Overlaps(a, b string) bool {
	for first := true; ; first = false {
		x, xrest, xmore := Cut(a)
		y, yrest, ymore := Cut(b)
		wx, wy := x == "#" || x == "+", y == "#" || y == "+"
		switch {
		case first && (wx && hidden(y) || wy && hidden(x)):
			return false
		case x == "#" || y == "#":
			return true
		case !wx && !wy && x != y:
			return false
		}
		switch {
		case !xmore && !ymore:
			return true
		case !xmore:
			return yrest == "#"
		case !ymore:
			return xrest == "#"
		}
		a, b = xrest, yrest
	}
}

// Intersect is the filter of exactly those names that both filters match;
// false when there are none (the empty string is no name). Two filters always
// meet in one filter, because each level of it is the narrower of their two.
func Intersect(a, b string) (string, bool) {
	if !Overlaps(a, b) {
		return "", false
	}
	var both strings.Builder
	for {
		x, xrest, xmore := Cut(a)
		y, yrest, ymore := Cut(b)
		switch {
		case x == "#": // what is left of a allows everything that b still asks for
			both.WriteString(b)
			return both.String(), true
		case y == "#":
			both.WriteString(a)
			return both.String(), true
		case x == "+":
			both.WriteString(y)
		default:
			both.WriteString(x)
		}
		if !xmore || !ymore { // the other ends here too, or in the # that includes its parent
			return both.String(), both.Len() > 0
		}
		both.WriteByte('/')
		a, b = xrest, yrest
	}
}
