package memory_test

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/internal/memory"
)

type inner struct {
	At   netip.Prefix
	Tags []string
}

type outer struct {
	Name  string
	Since time.Time
	In    inner
	Many  []inner
	Lists [][]string
	Ref   *inner
}

func TestShared(t *testing.T) {
	one := outer{"a", time.Now(), inner{Tags: []string{"x"}}, []inner{{Tags: []string{"y"}}}, [][]string{{"z"}}, &inner{Tags: []string{"w"}}}
	deep := one
	deep.In.Tags = slices.Clone(one.In.Tags)
	deep.Many = []inner{{Tags: []string{"y"}}}
	deep.Lists = [][]string{{"z"}}
	deep.Ref = &inner{Tags: []string{"w"}}
	require.Empty(t, memory.Shared(one, deep))
	require.Empty(t, memory.Shared(outer{}, outer{}), "what is empty")

	half := deep
	half.In.Tags = one.In.Tags
	require.Equal(t, "outer.In.Tags", memory.Shared(one, half))
	half = deep
	half.Many = one.Many
	require.Equal(t, "outer.Many", memory.Shared(one, half))
	half.Many = slices.Clone(one.Many)
	require.Equal(t, "outer.Many[].Tags", memory.Shared(one, half))

	half = deep
	half.Lists = slices.Clone(one.Lists)
	require.Equal(t, "outer.Lists[]", memory.Shared(one, half))
	half = deep
	half.Ref = one.Ref
	require.Equal(t, "outer.Ref", memory.Shared(one, half))
	half.Ref = &inner{Tags: one.Ref.Tags}
	require.Equal(t, "outer.Ref.Tags", memory.Shared(one, half))

	type odd struct{ To map[int]int }
	require.Equal(t, "odd.To (say here how to compare a map)", memory.Shared(odd{}, odd{}))
}
