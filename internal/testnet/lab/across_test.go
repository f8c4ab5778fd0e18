//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestToldToRedirect(t *testing.T) {
	for line, told := range map[string]bool{
		"   2.124940 gw1 lan0               out 10.99.0.11 > 10.99.0.80 ICMP redirect\n":    true,
		"   2.124940 gw1 lan0               out 10.99.0.11 > 10.99.0.12 ICMP redirect\n":    true,
		"   3.178947 gw1 lan0               out 10.99.0.11 > 10.20.0.3 ICMP redirect\n":     false,
		"   3.146388 gw1 wg-office          out 10.20.0.1 > 10.20.0.2 ICMP redirect\n":      false,
		"   3.655823 server lan0            out 10.99.0.80:39525 > 10.20.0.3:7 TCP 0 SYN\n": false,
		"": false,
	} {
		require.Equal(t, told, toldToRedirect(line), line)
	}
}
