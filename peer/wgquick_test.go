package peer_test

import (
	"encoding/base64"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

const laptopText = `[Interface]
PrivateKey = AAECAwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=
Address = 10.20.0.7/32, fd20::7/128
DNS = 10.20.0.1, fd20::1, corp.example.org
MTU = 1420

[Peer]
PublicKey = AtoSMfUyJ8BQ1MazMmr5ebku6nFUM0wEiHCzglK5Rkk=
PresharedKey = BwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
AllowedIPs = 10.0.0.0/8, fd20::/64
Endpoint = vpn.example.org:51820
PersistentKeepalive = 25
`

func TestWGQuick(t *testing.T) {
	p := laptop()
	require.Equal(t, laptopText, p.WGQuick(key(1)))

	p.Host, p.DNS, p.Search, p.MTU, p.Preshared, p.Keepalive = "2001:db8::1", nil, nil, 0, wgkey.Preshared{}, 0
	require.Equal(t, `[Interface]
PrivateKey = AAECAwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAEA=
Address = 10.20.0.7/32, fd20::7/128

[Peer]
PublicKey = `+p.Peer.String()+`
AllowedIPs = 10.0.0.0/8, fd20::/64
Endpoint = [2001:db8::1]:51820
`, p.WGQuick(key(1)))
}

// wg-quick runs as root: a profile from elsewhere must not become a command.
func TestWGQuickTakesNothingOverFromABadProfile(t *testing.T) {
	for _, p := range []peer.Profile{
		{},
		func() peer.Profile { p := laptop(); p.Search = []string{"x\nPostUp = id"}; return p }(),
		func() peer.Profile { p := laptop(); p.Host = "x\nPostUp = id\n#"; return p }(),
		func() peer.Profile { p := laptop(); p.DNS = addrs("fe80::1%x\nPostUp = id"); return p }(),
	} {
		text := p.WGQuick(key(1))
		require.Equal(t, 1, strings.Count(text, "\n"), text)
		require.Regexp(t, `^# not a profile: `, text)
		require.NotContains(t, text, key(1).RevealText())
	}
	require.Equal(t, "# not a profile: the private key is missing\n", laptop().WGQuick(wgkey.Private{}))
}

func TestParseWGQuickReadsWhatPeopleWrite(t *testing.T) {
	got, private, err := peer.ParseWGQuick("# mine\r\n\r\n  [INTERFACE] # section\r\nprivatekey=" + key(1).RevealText() + "\r\n" +
		"ADDRESS = 10.20.0.7\r\nAddress=fd20::7/64 , 10.20.0.8/24\r\nDNS = corp.example.org,10.20.0.1\r\ndns = fd20::1\r\n" +
		"[peer]\nAllowedIPs = 10.0.0.0/8\nAllowedIPs = ::/0, 192.0.2.1\nPersistentKeepalive = OFF\n" +
		"endpoint=[2001:db8::1]:1\nPublicKey\t=\t" + laptop().Peer.String() + " # key")
	require.NoError(t, err)
	require.Equal(t, key(1), private)
	equal(t, peer.Profile{
		Addresses:  prefixes("10.20.0.7/32", "fd20::7/64", "10.20.0.8/24"),
		DNS:        addrs("10.20.0.1", "fd20::1"),
		Search:     []string{"corp.example.org"},
		Peer:       laptop().Peer,
		AllowedIPs: prefixes("10.0.0.0/8", "::/0", "192.0.2.1/32"),
		Host:       "2001:db8::1",
		Port:       1,
	}, got)
}

func TestParseWGQuickSaysWhatIsWrong(t *testing.T) {
	good := laptop().WGQuick(key(1)) // lines 1 to 5, 7 to 12
	line := func(old, now string) string {
		require.Contains(t, good, old)
		return strings.Replace(good, old, now, 1)
	}
	for name, c := range map[string]struct{ text, want string }{
		"nothing":           {"", "an [Interface] section is missing"},
		"a command":         {line("MTU = 1420", "PostUp = iptables -F"), "line 5: postup: runs a command, which a profile may not: remove the line"},
		"in any case":       {line("MTU = 1420", "POSTUP = id"), "line 5: postup: runs a command"},
		"a server's key":    {line("MTU = 1420", "ListenPort = 51820"), "line 5: listenport: is for servers"},
		"an unknown key":    {line("MTU", "Metric"), `line 5: unknown key "metric" in [interface]`},
		"the wrong section": {line("MTU = 1420", "Endpoint = a:1"), `line 5: unknown key "endpoint" in [interface]`},
		"a second key":      {good + "PublicKey = " + laptop().Peer.String(), "line 13: publickey: is there already"},
		"a second peer":     {good + "[Peer]\n", "line 13: a second [Peer]: a profile is for one location"},
		"a second section":  {good + "[Interface]\n", "line 13: a second [Interface]"},
		"another section":   {good + "[Server]\n", "line 13: unknown section"},
		"before a section":  {"MTU = 1420\n" + good, "line 1: a key before the first section"},
		"no equals sign":    {good + "PersistentKeepalive 25\n", "line 13: is neither a section nor a key"},
		"a short key":       {line("PrivateKey = AAEC", "PrivateKey = AA"), "line 2: privatekey: wgkey: not a key: private key: want 44 characters"},
		"a zero key":        {line("PublicKey = "+laptop().Peer.String(), "PublicKey = "+wgkey.Public{}.String()), "line 8: publickey: wgkey: not a key: public key: all bytes are zero"},
		"no address":        {line("10.20.0.7/32, ", "10.20.0.7/33, "), "line 3: address: item 1: is not an address"},
		"an empty item":     {line("10.20.0.7/32, ", "10.20.0.7/32,, "), "line 3: address: item 2: is empty"},
		"an empty list":     {line("10.20.0.7/32, fd20::7/128", ""), "line 3: address: item 1: is empty"},
		"a mapped address":  {line("10.20.0.7/32", "::ffff:10.20.0.7/128"), "line 3: address: item 1: is not an address"},
		"no resolver":       {line("corp.example.org", "corp_example"), "line 4: dns: item 3: is neither"},
		"a small MTU":       {line("1420", "1279"), "line 5: mtu: use 1280 to 9000"},
		"an unmasked route": {line("10.0.0.0/8", "10.0.0.1/8"), "line 10: allowedips: item 1: 10.0.0.1/8 has bits set beyond its length: write 10.0.0.0/8"},
		"no port":           {line(":51820", ""), "line 11: endpoint: has no port"},
		"port 0":            {line(":51820", ":0"), "line 11: endpoint: has a wrong port"},
		"port 65536":        {line(":51820", ":65536"), "line 11: endpoint: has a wrong port"},
		"no brackets":       {line("vpn.example.org", "2001:db8::1"), "line 11: endpoint: an IPv6 address needs brackets"},
		"half a bracket":    {line("vpn.example.org", "[2001:db8::1"), "line 11: endpoint: brackets are for"},
		"brackets for IPv4": {line("vpn.example.org", "[192.0.2.1]"), "line 11: endpoint: brackets are for"},
		"no host":           {line("vpn.example.org", "vpn_example"), "line 11: endpoint: is neither"},
		"long keepalive":    {line("= 25", "= 65536"), "line 12: persistentkeepalive: use 0 to 65535"},
		"no private key":    {regexp.MustCompile("(?m)^PrivateKey.*$").ReplaceAllString(good, ""), "PrivateKey in [Interface] is missing"},
		"no endpoint":       {regexp.MustCompile("(?m)^Endpoint.*$").ReplaceAllString(good, ""), "Endpoint in [Peer] is missing"},
		"no peer":           {strings.Split(good, "[Peer]")[0], "a [Peer] section is missing"},
	} {
		t.Run(name, func(t *testing.T) {
			p, private, err := peer.ParseWGQuick(c.text)
			require.ErrorContains(t, err, "peer: wg-quick text: "+c.want)
			require.Equal(t, peer.Profile{}, p)
			require.True(t, private.IsZero())
		})
	}
}

// proves P15: a key that was put in the wrong place is not quoted either.
func TestParseWGQuickQuotesNoKey(t *testing.T) {
	secret := base64.StdEncoding.EncodeToString([]byte("this is a secret, all 32 of them"))
	for _, bare := range []string{secret, strings.TrimSuffix(secret, "="), secret[:40], secret + "x"} {
		for _, text := range []string{
			bare, "[Interface]\n" + bare, "[Interface]\nPrivateKey: " + bare, "[Interface]\nPrivateKey = " + bare + "!",
			"[Interface]\nAddress = " + bare, "[Interface]\nDNS = " + bare, "[Interface]\nMTU = " + bare, "[" + bare + "]",
			"[Peer]\nPresharedKey = " + bare + "x", "[Peer]\nEndpoint = " + bare, "[Peer]\nEndpoint = " + bare + ":99999",
			"[Peer]\nAllowedIPs = " + bare, "[Peer]\nPersistentKeepalive = " + bare, "[Interface]\n" + bare + " = x", "[Interface]\nPostUp = " + bare,
		} {
			_, _, err := peer.ParseWGQuick(text)
			require.Error(t, err, text)
			require.NotContains(t, strings.ToLower(err.Error()), strings.ToLower(secret[:12]), text)
		}
	}
}

// A key that happens to have letters only looks like the name of a key.
func TestParseWGQuickQuotesNoKeyOfLetters(t *testing.T) {
	_, _, err := peer.ParseWGQuick("[Interface]\n" + strings.Repeat("letters", 6) + "A=\n")
	require.EqualError(t, err, "peer: wg-quick text: line 2: unknown key in [interface]")
}

// anyProfile draws a valid profile.
func anyProfile() *rapid.Generator[peer.Profile] {
	addr := rapid.Custom(func(t *rapid.T) netip.Addr {
		if rapid.Bool().Draw(t, "ipv4") {
			return netip.AddrFrom4([4]byte(rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "bytes")))
		}
		a := netip.AddrFrom16([16]byte(rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "bytes")))
		if a.Is4In6() {
			return netip.IPv6LinkLocalAllNodes()
		}
		return a
	})
	prefix := rapid.Custom(func(t *rapid.T) netip.Prefix {
		a := addr.Draw(t, "addr")
		return netip.PrefixFrom(a, rapid.IntRange(0, a.BitLen()).Draw(t, "bits"))
	})
	domain := rapid.StringMatching(`([a-zA-Z0-9]([a-zA-Z0-9-]{0,5}[a-zA-Z0-9])?\.){0,3}[a-z]{1,8}`)
	host := rapid.OneOf(domain, rapid.SampledFrom([]string{"192.0.2.1", "2001:db8::1", "::1"}))
	return rapid.Custom(func(t *rapid.T) peer.Profile {
		p := peer.Profile{
			Addresses:  rapid.SliceOfN(prefix, 1, 4).Draw(t, "addresses"),
			DNS:        rapid.SliceOfN(addr, 0, 3).Draw(t, "dns"),
			Search:     rapid.SliceOfN(domain, 0, 3).Draw(t, "search"),
			MTU:        rapid.OneOf(rapid.Just(0), rapid.IntRange(1280, 9000)).Draw(t, "mtu"),
			Peer:       wgkey.Public(rapid.SliceOfN(rapid.Byte(), wgkey.Size, wgkey.Size).Draw(t, "peer")),
			AllowedIPs: rapid.SliceOfN(prefix, 1, 5).Draw(t, "allowed"),
			Host:       host.Draw(t, "host"),
			Port:       rapid.Uint16Min(1).Draw(t, "port"),
			Keepalive:  time.Duration(rapid.Uint16().Draw(t, "keepalive")) * time.Second,
		}
		if rapid.Bool().Draw(t, "preshared") {
			p.Preshared = wgkey.PresharedFrom([wgkey.Size]byte(rapid.SliceOfN(rapid.Byte(), wgkey.Size, wgkey.Size).Draw(t, "psk")))
		}
		for i, a := range p.AllowedIPs {
			p.AllowedIPs[i] = a.Masked()
		}
		p.Peer[0] |= 1 // not zero
		return p
	})
}

func TestWGQuickThereAndBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, private := anyProfile().Draw(t, "profile"), key(rapid.Byte().Draw(t, "key"))
		got, gotKey, err := peer.ParseWGQuick(p.WGQuick(private))
		require.NoError(t, err)
		equal(t, p, got)
		require.Equal(t, private, gotKey)
	})
}

func FuzzParseWGQuick(f *testing.F) {
	f.Add(laptopText)
	f.Add(laptop().WGQuick(key(1)))
	f.Add("[Interface]\nPostUp = id\n[Peer]\n")
	f.Add("[Peer]\r\nEndpoint = [::1]:1 # x\r\nAllowedIPs = ::/0,0.0.0.0/0\r\n")
	token := regexp.MustCompile(`[A-Za-z0-9+/]{43}=`)
	f.Fuzz(func(t *testing.T, text string) {
		p, private, err := peer.ParseWGQuick(text)
		if err != nil {
			for _, k := range token.FindAllString(text, -1) {
				require.NotContains(t, err.Error(), k)
			}
			return
		}
		require.NoError(t, p.Validate())
		again, key, err := peer.ParseWGQuick(p.WGQuick(private))
		require.NoError(t, err)
		equal(t, p, again)
		require.Equal(t, private, key)
	})
}

// The real tool is the reader that counts: it takes what it knows itself out of
// the text, and the rest is for wg(8), which has to take it.
func TestWGQuickIsReadByTheRealTool(t *testing.T) {
	tool, err := exec.LookPath("wg-quick")
	if err != nil {
		lacking(t, "wg-quick", "apt-get install --no-install-recommends wireguard-tools")
	}
	dir := t.TempDir()
	for name, p := range map[string]peer.Profile{
		"laptop": laptop(),
		"ipv6":   func() peer.Profile { p := laptop(); p.Host = "2001:db8::1"; return p }(),
		"bare": {
			Addresses: prefixes("10.0.0.2/32"), AllowedIPs: prefixes("0.0.0.0/0", "::/0"), Peer: laptop().Peer, Host: "192.0.2.1", Port: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(dir, name+".conf")
			require.NoError(t, os.WriteFile(file, []byte(p.WGQuick(key(1))), 0o600))
			out, err := exec.CommandContext(t.Context(), tool, "strip", file).CombinedOutput()
			require.NoError(t, err, string(out))
			got := string(out)
			require.Contains(t, got, "PrivateKey = "+key(1).RevealText())
			require.Contains(t, got, "PublicKey = "+p.Peer.String())
			require.Contains(t, got, "AllowedIPs = ")
			require.Contains(t, got, "Endpoint = ")
			for _, own := range []string{"Address", "DNS", "MTU"} {
				require.NotContains(t, got, own, "wg-quick took it for itself")
			}
		})
	}
}

// lacking skips, and says what is missing; where nothing may be skipped it fails.
func lacking(t *testing.T, what, how string) {
	t.Helper()
	if os.Getenv("HOLDFAST_REQUIRE") == "all" {
		t.Fatalf("missing: %s (%s)", what, how)
	}
	t.Skipf("missing: %s (%s)", what, how)
}

// It proves P15.
func TestATemplateHasNoKey(t *testing.T) {
	p := anyProfile().Example(7)
	key := wgkey.NewPrivate()
	want := strings.Replace(p.WGQuick(key), "PrivateKey = "+key.RevealText(), "# PrivateKey = (of the device: put it here)", 1)
	require.Equal(t, want, p.Template())
	p.Host = ""
	require.Contains(t, p.Template(), "# not a profile")
}
