package location_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
)

func TestCheckHost(t *testing.T) {
	label := strings.Repeat("a", 63)
	for _, host := range []string{
		"vpn.example.org", "VPN", "a", "9.example", "xn--mnchen-3ya.de", "a-b.c--d.e2", "1and1.com", label + "." + label + "." + label + "." + label[:61],
		"192.0.2.1", "10.0.0.1", "127.0.0.1", "169.254.0.1", "2001:db8::1", "::1", "fd00::1",
	} {
		require.NoError(t, location.CheckHost(host), host)
	}
	for host, reason := range map[string]string{
		"":                        "is empty",
		"vpn_1.example.org":       "'_'",
		"vpn .org":                "' '",
		"münchen.de":              "ASCII form (xn--…)",
		"a..b":                    "empty part",
		".a":                      "empty part",
		"example.org.":            "ends with a dot: leave it off",
		"-a.org":                  "hyphen",
		"a-.org":                  "hyphen",
		label + "a.org":           "64 characters: at most 63",
		strings.Repeat("a.", 127): "has 254 characters",
		"1.2.3":                   "looks like an IPv4 address, and is none",
		"256.1.1.1":               "looks like an IPv4 address, and is none",
		"example.123":             "looks like an IPv4 address",
		"192.0.2.1:51820":         "has its own field",
		"[2001:db8::1]":           "without brackets",
		"[2001:db8::1]:51820":     "without brackets",
		"2001:db8::g":             "not an IPv6 address",
		"fe80::1%eth0":            "zone",
		"fe80::1":                 "link-local",
		"0.0.0.0":                 "cannot be dialled",
		"::":                      "cannot be dialled",
		"255.255.255.255":         "cannot be dialled",
		"224.0.0.1":               "cannot be dialled",
		"ff02::1":                 "cannot be dialled",
		"::ffff:192.0.2.1":        "write 192.0.2.1",
		"a\nPostUp = id":          `'\n'`,
		"a;b":                     "';'",
		"https://example.org":     "has its own field",
	} {
		require.ErrorContains(t, location.CheckHost(host), reason, host)
	}
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"a", "head office", "Füße", "\u6771\u4eac 🏢", `"quoted"`, strings.Repeat("🏢", 63)} {
		require.NoError(t, location.CheckName(name), name)
	}
	for name, reason := range map[string]string{
		"":                        "is empty: give it 1 to 63 characters",
		strings.Repeat("🏢", 64):   "has 64 characters: use at most 63",
		"a\t":                     "leave it off",
		"\ta":                     "leave it off",
		"a\x00b":                  "U+0000",
		"zero\u200bwidth":         "U+200B",
		"no\u00a0break":           "U+00A0",
		string([]byte{'a', 0x80}): "not UTF-8",
		"\x1b[31mred":             "U+001B",
	} {
		require.ErrorContains(t, location.CheckName(name), reason, "%q", name)
	}
}
