// Package keepalived is the example of this folder for the programs that try it: the
// lab runs keepalived with it. Operators read README.md.
package keepalived

import (
	_ "embed"
	"fmt"
	"regexp"
	"strings"
)

//go:embed keepalived.conf
var conf string

// Conf returns the configuration with other values for some of the parameters on its
// top, by their names without the $. A name that is not there is an error.
func Conf(values map[string]string) (string, error) {
	out := conf
	for name, v := range values {
		line := regexp.MustCompile(`(?m)^\$` + regexp.QuoteMeta(name) + `=.*$`)
		if !line.MatchString(out) || strings.ContainsAny(v, "\n#!") {
			return "", fmt.Errorf("keepalived: set %s to %q: want a parameter of keepalived.conf, and a value on one line", name, v)
		}
		out = line.ReplaceAllLiteralString(out, "$"+name+"="+v)
	}
	return out, nil
}
