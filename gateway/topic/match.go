package topic

import "strings"

// Match reports whether the filter matches the topic name.
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

// Contains reports whether outer matches every name that inner matches. The answer is exact: a
// level may hold any text, so only a wildcard contains a wildcard.
func Contains(outer, inner string) bool {
	for first := true; ; first = false {
		o, orest, omore := Cut(outer)
		i, irest, imore := Cut(inner)
		switch {
		case o == "#":
			return !first || !hidden(i)
		case i == "#":
			// A topic name has at least one level, so "#" matches no more than "+/#". Further down "a/#"
			// also matches "a" itself.
			return first && o == "+" && omore && orest == "#"
		case o == "+":
			if first && hidden(i) {
				return false
			}
		case o != i: // a literal does not contain what a + matches
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

// Overlaps reports whether both filters match a common name.
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

// Intersect returns the filter that matches exactly the names that both a and b match; false if
// there are none. One filter is always enough, because each of its levels is the narrower of
// the two.
func Intersect(a, b string) (string, bool) {
	if !Overlaps(a, b) {
		return "", false
	}
	var both strings.Builder
	for {
		x, xrest, xmore := Cut(a)
		y, yrest, ymore := Cut(b)
		switch {
		case x == "#": // the rest of a matches all that the rest of b matches
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
		if !xmore || !ymore { // the other filter ends here too, or with the # that includes its parent level
			return both.String(), both.Len() > 0
		}
		both.WriteByte('/')
		a, b = xrest, yrest
	}
}
