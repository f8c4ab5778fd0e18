package module_test

import (
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/holdfastvpn/holdfast/internal/testnet/vm/module"
	"github.com/holdfastvpn/holdfast/internal/testnet/vm/module/moduletest"
)

// names are those of the modules.
func names(all []module.Module) []string {
	out := make([]string, len(all))
	for i, m := range all {
		out[i] = m.Name
	}
	return out
}

func TestOrder(t *testing.T) {
	x := module.Index{
		{Name: "wireguard", Needs: []string{"udp_tunnel", "chacha", "in_kernel"}},
		{Name: "udp_tunnel"},
		{Name: "chacha", Needs: []string{"lib"}, Helps: []string{"crypto-fast", "not-there"}},
		{Name: "fast_x86", Needs: []string{"lib"}, Aliases: []string{"crypto-fast"}},
		{Name: "lib"},
		{Name: "in_kernel", Builtin: true},
		{Name: "chicken", Needs: []string{"egg"}},
		{Name: "egg", Needs: []string{"chicken"}},
		{Name: "half", Needs: []string{"gone"}},
	}
	all, err := x.Order("wireguard", "lib", "in-kernel", "wireguard")
	require.NoError(t, err)
	require.Equal(t, []string{"udp_tunnel", "lib", "fast_x86", "chacha", "wireguard"}, names(all))

	_, err = x.Order("half")
	require.ErrorContains(t, err, "half wants gone, which this kernel does not have")
	_, err = x.Order("none")
	require.ErrorContains(t, err, "the list wants none, which this kernel does not have")
	_, err = x.Order("egg")
	require.ErrorContains(t, err, "need each other")
}

// Whatever needs what: nothing comes before what it needs, nothing twice, and
// nothing that nobody needs.
func TestOrderHolds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 30).Draw(t, "modules")
		x := make(module.Index, n)
		for i := range x {
			x[i].Name = fmt.Sprintf("m%d", i)
			for range rapid.IntRange(0, min(i, 4)).Draw(t, "needs") {
				x[i].Needs = append(x[i].Needs, fmt.Sprintf("m%d", rapid.IntRange(0, i-1).Draw(t, "need")))
			}
		}
		wanted := names(rapid.SliceOfN(rapid.SampledFrom(x), 0, 5).Draw(t, "wanted"))
		shuffled := rapid.Permutation(x).Draw(t, "order")
		all, err := shuffled.Order(wanted...)
		require.NoError(t, err)
		at := map[string]int{}
		for i, m := range all {
			require.NotContains(t, at, m.Name)
			at[m.Name] = i
		}
		asked := slices.Clone(wanted)
		for _, m := range all {
			for _, need := range m.Needs {
				require.Contains(t, at, need)
				require.Less(t, at[need], at[m.Name])
				asked = append(asked, need)
			}
		}
		for _, w := range wanted {
			require.Contains(t, at, w)
		}
		for _, m := range all {
			require.Contains(t, asked, m.Name)
		}
	})
}

func TestFind(t *testing.T) {
	x := module.Index{
		{Name: "nft_chain_nat", Aliases: []string{"nft-chain-1-nat", "nft-chain-2-nat"}},
		{Name: "crc32c_intel", Aliases: []string{"cpu:type:x86,ven*fam*mod*:feature:*0094*", "crypto-crc32c"}},
		{Name: "crc32c_generic", Aliases: []string{"crypto-crc32c"}},
		{Name: "odd", Aliases: []string{"devname:net/tun", "[", "char-major-10-200"}},
	}
	for alias, want := range map[string][]string{
		"nft_chain_nat":     {"nft_chain_nat"},
		"nft-chain-nat":     {"nft_chain_nat"},
		"nft_chain_2_nat":   {"nft_chain_nat"},
		"nft-chain-10-nat":  nil,
		"crypto-crc32c":     {"crc32c_generic", "crc32c_intel"},
		"devname:net/tun":   {"odd"},
		"char-major-10-200": {"odd"},
		"cpu:type:x86,ven0002fam000Fmod006B:feature:,0000,0094,00A1": {"crc32c_intel"},
		"":     nil,
		"none": nil,
	} {
		require.Equal(t, want, x.Find(alias), "%q", alias)
	}
}

func TestName(t *testing.T) {
	require.Equal(t, "nf_tables", module.Name("kernel/net/netfilter/nf-tables.ko"))
	require.Equal(t, "nf_tables", module.Name("nf_tables"))
}

func TestParseRefuses(t *testing.T) {
	_, err := module.Parse("x.ko", []byte("not an object"))
	require.ErrorContains(t, err, "module: read x")
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		self = []byte("\x7fELF") // no such file on this system
	}
	_, err = module.Parse("self.ko", self)
	require.ErrorContains(t, err, "module: read self")
}

func TestParse(t *testing.T) {
	m, err := module.Parse("kernel/crypto/chacha-x86_64.ko", moduletest.File(
		"license=GPL", "alias=crypto-chacha20", "alias=chacha20", "softdep=pre: crc32c libfoo post: later",
		"depends=libchacha,lib-chacha-generic", "intree=Y"))
	require.NoError(t, err)
	require.Equal(t, module.Module{
		Name:    "chacha_x86_64",
		Needs:   []string{"libchacha", "lib_chacha_generic"},
		Helps:   []string{"crc32c", "libfoo"},
		Aliases: []string{"crypto-chacha20", "chacha20"},
	}, m)

	m, err = module.Parse("alone.ko", moduletest.File("depends=", "softdep=post: later"))
	require.NoError(t, err)
	require.Equal(t, module.Module{Name: "alone"}, m)
	require.Equal(t, "alone.ko", m.File())
}
