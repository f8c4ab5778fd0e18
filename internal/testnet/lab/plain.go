//go:build linux

package main

import (
	"context"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/holdfastvpn/holdfast/internal/testnet"
	"github.com/holdfastvpn/holdfast/peer"
)

// plainly sets a client up from wg-quick text with nothing but the commands wg and ip,
// as a user without wg-quick would: no code of ours is in it. It ends with its host.
func plainly(ctx context.Context, h *testnet.Host, text string) error {
	profile, _, err := peer.ParseWGQuick(text)
	if err != nil {
		return fmt.Errorf("set up the client: %w", err)
	}
	commands := [][]string{
		{"ip", "link", "add", "wg0", "type", "wireguard"},
		{"wg", "setconf", "wg0", "/dev/stdin"},
		{"ip", "link", "set", "wg0", "mtu", strconv.Itoa(profile.MTU), "up"},
	}
	for _, a := range profile.Addresses {
		commands = append(commands, []string{"ip", "address", "add", a.String(), "dev", "wg0"})
	}
	for _, n := range profile.AllowedIPs {
		commands = append(commands, []string{"ip", "route", "add", n.String(), "dev", "wg0"})
	}
	return h.Do(func() error {
		for _, c := range commands {
			file, err := testnet.Command(c[0])
			if err != nil {
				return fmt.Errorf("set up the client: %w", err)
			}
			cmd := exec.CommandContext(ctx, file, c[1:]...)
			cmd.Stdin = strings.NewReader(stripped(text))
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("set up the client: %s: %w: %s", strings.Join(c, " "), err, out)
			}
		}
		return nil
	})
}

// stripped is wg-quick text without what wg itself does not know, as 'wg-quick strip'
// prints it.
func stripped(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		key, _, _ := strings.Cut(line, "=")
		switch strings.TrimSpace(key) {
		case "Address", "DNS", "MTU":
		default:
			b.WriteString(line)
		}
	}
	return b.String()
}
