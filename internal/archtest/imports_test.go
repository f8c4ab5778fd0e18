package archtest

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// complaints are what a check found: one line each, with where, what and why.
type complaints []string

func (c *complaints) addf(format string, args ...any) { *c = append(*c, fmt.Sprintf(format, args...)) }

// imports checks the code (tests are free) against the table, and the table
// against the tree: nothing unlisted, nothing listed that is not there.
func imports(rows []row, files []source) (c complaints) {
	there := map[string]bool{}
	for _, f := range files {
		if !f.test() {
			there[f.pkg()] = true
		}
	}
	may := map[string][]string{}
	for _, r := range rows {
		may[r.path] = r.may
		switch {
		case r.planned && there[r.path]:
			c.addf("%s: there now; take its planned mark out of the table", r.path)
		case !r.planned && !there[r.path]:
			c.addf("%s: in the table, not in the tree; take the row out or mark it planned", r.path)
		}
	}
	for _, f := range files {
		if f.test() || within(f.pkg(), free) || f.pkg() == "" {
			continue
		}
		// A package below X/internal/ is a part of X and lives by X's row.
		owner, _, _ := strings.Cut(f.pkg(), "/internal/")
		allowed, listed := may[owner]
		if !listed {
			c.addf("%s: package %q is not in the table of %s", f.path, owner, "internal/archtest")
			continue
		}
		for _, i := range f.file.Imports {
			p, own := ours(unquote(i))
			// Whose parts may be imported at all, the compiler knows.
			whole, _, _ := strings.Cut(p, "/internal/")
			if own && whole != owner && !slices.Contains(allowed, whole) {
				c.addf("%s: %s must not import %s", f.at(i), owner, p)
			}
		}
	}
	return c
}

// order checks the table itself: rows name only rows above them, so that imports
// point one way, and the composer and the wires never meet.
func order(rows []row) (c complaints) {
	planned := map[string]bool{}
	for _, r := range rows {
		for _, p := range r.may {
			later, above := planned[p]
			if !above {
				c.addf("%s: may import %s, which no row above it has", r.path, p)
			}
			if later && !r.planned {
				c.addf("%s: may import %s, which is only planned", r.path, p)
			}
			if side(r.path)*side(p) < 0 {
				c.addf("%s: may import %s: vpn and transport never import each other", r.path, p)
			}
		}
		if _, twice := planned[r.path]; twice {
			c.addf("%s: two rows", r.path)
		}
		planned[r.path] = r.planned
	}
	return c
}

// side is 1 for the composer's packages, -1 for the wires, 0 for all others; the
// leaves below vpn/ take no side, and neither does the operators' wire, which
// stands above both: its contract is the composer itself.
func side(pkg string) int {
	switch {
	case within(pkg, []string{"vpn/wgkey", "vpn/seal", "transport/adminrpc"}):
		return 0
	case within(pkg, []string{"vpn/..."}):
		return 1
	case within(pkg, []string{"transport/..."}):
		return -1
	}
	return 0
}

// reached checks what each package links in the end.
func reached(rules []reach, deps map[string][]string) (c complaints) {
	for pkg, linked := range deps {
		for _, r := range rules {
			if within(pkg, r.only) {
				continue
			}
			i := slices.IndexFunc(linked, func(d string) bool { return within(d, []string{r.path + "/..."}) })
			if i >= 0 {
				c.addf("%s: links %s, which only %s may: %s", pkg, linked[i], strings.Join(r.only, ", "), r.why)
			}
		}
	}
	slices.Sort(c)
	return c
}

// matches says whether a pattern of the list takes the file in, and none with a
// leading ! takes it out.
func matches(patterns []string, file string) (in bool) {
	for _, p := range patterns {
		p, out := strings.CutPrefix(p, "!")
		if ok, err := path.Match(p, file); err == nil && ok {
			if out {
				return false
			}
			in = true
		}
	}
	return in
}
