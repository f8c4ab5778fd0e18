package gatewaytest_test

import (
	"context"
	"testing"
	"time"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
	"github.com/holdfastvpn/holdfast/internal/planted"
)

func inMemory(testing.TB) (gateway.Keeper, func() gateway.Keeper) {
	k := gatewaytest.NewKeeper()
	return k, func() gateway.Keeper { return k }
}

func TestKeeper(t *testing.T) { gatewaytest.RunKeeper(t, inMemory) }

// careless is a Keeper with a fault.
type careless struct {
	*gatewaytest.Keeper

	load func(all []gateway.Kept)
	keep func(k *gateway.Kept)
	deaf bool // what ends a call is not heard
	held bool // nothing is forgotten
}

func (c careless) Load(ctx context.Context) ([]gateway.Kept, error) {
	all, err := c.Keeper.Load(ctx)
	if c.load != nil {
		c.load(all)
	}
	return all, err
}

func (c careless) Keep(ctx context.Context, k gateway.Kept) error {
	if c.deaf {
		ctx = context.WithoutCancel(ctx)
	}
	if c.keep != nil {
		c.keep(&k)
	}
	return c.Keeper.Keep(ctx, k)
}

func (c careless) Forget(ctx context.Context, at gateway.LocationID) error {
	if c.held {
		return nil
	}
	return c.Keeper.Forget(ctx, at)
}

func TestKeeperSuiteFindsFaults(t *testing.T) {
	all := "what was kept last is there again, and all of it"
	for sin, c := range map[string]struct {
		careless

		notice []string
	}{
		"the isolation is lost": {careless{keep: func(k *gateway.Kept) { k.Config.Interface.Isolated = false }}, []string{all}},
		"the revision is lost": {
			careless{keep: func(k *gateway.Kept) { k.Config.Revision = gateway.Revision{} }},
			[]string{
				all, "what is forgotten is gone", "any name of a location will do",
				"what it was given and what it gives are not its own memory", "a context that has ended changes nothing",
			},
		},
		"seconds are good enough": {
			careless{load: func(all []gateway.Kept) {
				for i := range all {
					all[i].Heard = all[i].Heard.Truncate(time.Second)
				}
			}},
			[]string{
				all, "what is forgotten is gone", "any name of a location will do",
				"what it was given and what it gives are not its own memory", "a context that has ended changes nothing",
			},
		},
		"siblings are lost": {
			careless{keep: func(k *gateway.Kept) { k.Siblings = nil }},
			[]string{all, "what it was given and what it gives are not its own memory"},
		},
		"where a sibling is dialled is lost": {
			careless{load: func(all []gateway.Kept) {
				for _, k := range all {
					for i := range k.Siblings {
						k.Siblings[i].Addr = ""
					}
				}
			}}, []string{all, "what it was given and what it gives are not its own memory"},
		},
		"preshared keys are lost": {
			careless{load: func(all []gateway.Kept) {
				for _, k := range all {
					for i := range k.Config.Peers {
						k.Config.Peers[i].Preshared = gateway.Peer{}.Preshared
					}
				}
			}}, []string{all},
		},
		"nothing is forgotten":   {careless{held: true}, []string{"what is forgotten is gone", "a context that has ended changes nothing"}},
		"an end is not heard of": {careless{deaf: true}, []string{"a context that has ended changes nothing"}},
	} {
		t.Run(sin, func(t *testing.T) {
			open := func(tb testing.TB) (gateway.Keeper, func() gateway.Keeper) {
				fresh := c.careless
				k, _ := inMemory(tb)
				fresh.Keeper, _ = k.(*gatewaytest.Keeper)
				return fresh, func() gateway.Keeper { return fresh }
			}
			planted.Exactly(t, gatewaytest.KeeperCases(open), c.notice...)
		})
	}
}
