package peer_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/location"
	"github.com/holdfastvpn/holdfast/peer"
	"github.com/holdfastvpn/holdfast/vpn/wgkey"
)

// serverFile is one as they are found, with two clients and a site.
func serverFile() (text string, key wgkey.Private, clients [3]wgkey.Public) {
	key = wgkey.NewPrivate()
	for i := range clients {
		clients[i] = wgkey.NewPrivate().Public()
	}
	text = `# managed by hand
[Interface]
Address = 10.8.0.1/24, fd08::1/64
ListenPort = 51821
PrivateKey = ` + key.RevealText() + `
MTU = 1400
FwMark = 0xca6c
PostUp = iptables -A FORWARD -i %i -j ACCEPT
SaveConfig = false

# alice's laptop
[Peer]
PublicKey = ` + clients[0].String() + `
AllowedIPs = 10.8.0.2/32, fd08::2/128

[peer]
# Name = branch
publickey = ` + clients[1].String() + `
PresharedKey = ` + wgkey.NewPreshared().RevealText() + `
AllowedIPs = 10.8.0.3/32
AllowedIPs = 192.168.7.9/24
PersistentKeepalive = 25
[Peer]
PublicKey = ` + clients[2].String() + ` # no name
AllowedIPs = 10.8.0.4
`
	return text, key, clients
}

func TestAServerFileIsTakenOver(t *testing.T) {
	text, key, clients := serverFile()
	s, err := peer.ParseServer(text)
	require.NoError(t, err)
	require.Equal(t, key, s.Key)
	require.Equal(t, []string{"line 8: postup", "line 9: saveconfig"}, s.Left)

	l := s.Location()
	require.Equal(t, location.Location{
		Networks: []netip.Prefix{netip.MustParsePrefix("10.8.0.0/24"), netip.MustParsePrefix("fd08::/64")},
		Gateway:  []netip.Addr{netip.MustParseAddr("10.8.0.1"), netip.MustParseAddr("fd08::1")},
		Port:     51821, MTU: 1400, Mark: 0xca6c,
	}, l)

	l.ID = "office"
	all, err := s.Devices(l)
	require.NoError(t, err)
	place := func(addrs ...string) (p peer.Place) {
		p.Location = "office"
		for _, a := range addrs {
			p.Addrs = append(p.Addrs, netip.MustParseAddr(a))
		}
		return p
	}
	branch := place("10.8.0.3")
	branch.Routes = []netip.Prefix{netip.MustParsePrefix("192.168.7.0/24")}
	require.Equal(t, []peer.NewDevice{
		{Name: "alice's laptop", Key: clients[0], Places: []peer.Place{place("10.8.0.2", "fd08::2")}},
		{Name: "branch", Key: clients[1], Places: []peer.Place{branch}},
		{Name: "10.8.0.4", Key: clients[2], Places: []peer.Place{place("10.8.0.4")}},
	}, all)
	require.Equal(t, []bool{false, true, false}, []bool{s.Peers[0].Preshared, s.Peers[1].Preshared, s.Peers[2].Preshared})
}

func TestAServerFileThatDoesNotFit(t *testing.T) {
	text, _, clients := serverFile()
	text += "[Peer]\nPublicKey = " + clients[0].String() + "\nAllowedIPs = 10.8.0.77/32\n" +
		"[Peer]\nPublicKey = " + wgkey.NewPrivate().Public().String() + "\nAllowedIPs = 10.8.0.1/32\n" +
		"[Peer]\nPublicKey = " + wgkey.NewPrivate().Public().String() + "\nAllowedIPs = 0.0.0.0/0\n"
	s, err := peer.ParseServer(text)
	require.NoError(t, err)
	_, err = s.Devices(s.Location())
	for _, want := range []string{
		"line 26: has the key of the peer of line 12", "line 29: 10.8.0.1 belongs to the gateways",
		"line 32: 0.0.0.0/0 would take everybody's", "line 32: 0.0.0.0/0 overlaps 10.8.0.2/32 of the peer of line 12",
	} {
		require.ErrorContains(t, err, want)
	}
}

func TestServerFilesThatAreRefused(t *testing.T) {
	text, _, _ := serverFile()
	for name, c := range map[string]struct{ old, now, want string }{
		"an unknown key":       {"MTU", "Mto", `line 6: unknown key "mto"`},
		"a value of no key":    {"MTU = 1400", "1400", "line 6: is neither"},
		"a bad port":           {"51821", "0", "listenport: use 1 to 65535"},
		"a peer without a key": {"publickey", "#", "PublicKey is missing in the [Peer] of line 16"},
		"no private key":       {"PrivateKey", "#", "PrivateKey in [Interface] is missing"},
		"two ports":            {"MTU = 1400", "ListenPort = 1", `"listenport": is there already`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := peer.ParseServer(strings.Replace(text, c.old, c.now, 1))
			require.ErrorContains(t, err, c.want)
		})
	}
	client := "[Interface]\nPrivateKey = " + wgkey.NewPrivate().RevealText() + "\nAddress = 10.8.0.2/32\n[Peer]\nPublicKey = " +
		wgkey.NewPrivate().Public().String() + "\nEndpoint = vpn.example.org:51820\nAllowedIPs = 10.8.0.0/24\n"
	_, err := peer.ParseServer(client)
	require.ErrorContains(t, err, "the file of a client")
}

// It proves P15.
func FuzzParseServer(f *testing.F) {
	text, key, _ := serverFile()
	f.Add(text)
	f.Add("[Interface]\nPrivateKey = " + key.RevealText() + "=\n")
	f.Add("[interface]\n" + key.RevealText())
	f.Fuzz(func(t *testing.T, text string) {
		s, err := peer.ParseServer(text)
		if err != nil {
			if strings.Contains(text, key.RevealText()) {
				require.NotContains(t, err.Error(), key.RevealText()[:20])
			}
			return
		}
		require.False(t, s.Key.IsZero())
		l := s.Location()
		l.ID = "office"
		devices, err := s.Devices(l)
		if err == nil {
			require.Len(t, devices, len(s.Peers))
		}
	})
}
