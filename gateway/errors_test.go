package gateway_test

import (
	"errors"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/holdfastvpn/holdfast/gateway"
	"github.com/holdfastvpn/holdfast/gateway/gatewaytest"
)

func TestApplyErrorNamesTheFirst(t *testing.T) {
	err := error(&gateway.ApplyError{Failed: map[int]error{
		7: errors.New("seventh"), 0: syscall.ENODEV, 2: errors.New("second"), 9: syscall.EPERM,
	}})
	require.EqualError(t, err, "gateway: 4 steps failed; step 1: no such device; step 3: second; step 8: seventh; …")
	require.ErrorIs(t, err, syscall.EPERM)
	require.NotErrorIs(t, err, syscall.ENOMEM)
}

// proves P15: what is printed of plans, rows and interfaces has no secret in it.
func TestPlansPrintNoSecret(t *testing.T) {
	c := gatewaytest.Config(1)
	c.Peers[0].Preshared = gatewaytest.PresharedKey(1)
	p := gateway.Diff(c, gateway.State{})
	for _, secret := range []string{c.Interface.Key.RevealText(), c.Peers[0].Preshared.RevealText()} {
		require.NotContains(t, p.String(), secret)
		require.NotContains(t, c.Peers[0].String(), secret)
		require.NotContains(t, c.Interface.String(), secret)
	}
	require.Contains(t, p.String(), " preshared")
}

func TestPlanNames(t *testing.T) {
	require.Equal(t, "verb(99)", gateway.Verb(99).String())
	require.Equal(t, "nothing", gateway.Fields(0).String())
	require.Equal(t, "port,0x8000", (gateway.FieldPort | 1<<15).String())
	require.Equal(t, "create,key,port,mark,mtu,addrs,filter,forwarding,up,source", gateway.FieldsAll.String())

	p := gateway.Diff(gatewaytest.Config(3), gateway.State{})
	require.Len(t, p.Only(gateway.Set), 3)
	require.Len(t, p.Only(gateway.Set, gateway.Configure), 4)
	require.Empty(t, p.Only(gateway.Remove))
	require.Empty(t, gateway.Plan(nil).String())
}
