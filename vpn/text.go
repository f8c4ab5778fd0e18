package vpn

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
)

// WriteText writes the Overview as tables for a terminal. Bytes are those that
// gateways received from peers and sent to them; "RECEIVED 0 B" of a peer that
// should be there means that nothing of it arrives.
func (o Overview) WriteText(w io.Writer) error {
	var b strings.Builder
	if len(o.Locations) == 0 {
		b.WriteString("no locations\n")
	}
	for i, l := range o.Locations {
		if i > 0 {
			b.WriteByte('\n')
		}
		l.writeText(&b)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return fmt.Errorf("vpn: write overview: %w", err)
	}
	return nil
}

func (l LocationOverview) writeText(b *strings.Builder) {
	head := []string{plain(l.Name), joined(l.Networks), endpoint(l.Host, l.Port)}
	if l.Disabled {
		head = append(head, "disabled")
	}
	fmt.Fprintf(b, "%s  revision %v  %d/%d gateways, %d of %d peers active\n",
		strings.Join(head, "  "), l.Revision, l.Connected, len(l.Gateways), l.Active, l.Enabled)
	for _, p := range l.Problems {
		fmt.Fprintf(b, "  problem: %s\n", plain(p))
	}
	if len(l.Gateways) > 0 {
		t := newTable(b, "GATEWAY", "STATE", "APPLIED", "CARRIES", "BACKEND", "PROBLEMS")
		for _, g := range l.Gateways {
			t.row(g.Name, g.state(), g.applied(), strconv.Itoa(g.Carries), g.Backend, g.problems())
		}
		t.flush()
	}
	if len(l.Peers) > 0 {
		t := newTable(b, "PEER", "OWNER", "ADDRESS", "CARRIED BY", "HANDSHAKE", "RECEIVED", "SENT", "ENDPOINT")
		for _, p := range l.Peers {
			t.row(p.Name, p.Owner, joined(p.Addrs), p.carrier(), p.Handshake.String(), size(p.Rx), size(p.Tx), address(p.Endpoint))
		}
		t.flush()
	}
}

func (g GatewayOverview) state() string {
	switch {
	case g.Disabled:
		return "disabled"
	case g.Connected && g.Stalled:
		return "stalled"
	case g.Connected && g.Ready:
		return "connected"
	case g.Connected:
		return "not ready"
	case g.Heard == Never:
		return "unknown"
	}
	return "away " + g.Heard.String()
}

func (g GatewayOverview) applied() string {
	switch {
	case g.Applied.IsZero():
		return "-"
	case g.Behind == 0:
		return g.Applied.String() + " ✓"
	}
	return fmt.Sprintf("%v (%d behind)", g.Applied, g.Behind)
}

func (g GatewayOverview) problems() string {
	all := append([]string(nil), g.Failed...)
	if n := len(g.Drift); n > 0 {
		all = append(all, fmt.Sprintf("%d repaired, last: %s", g.Drifts, g.Drift[n-1]))
	}
	return strings.Join(all, "; ")
}

func (p PeerOverview) carrier() string {
	switch {
	case p.Disabled:
		return "disabled"
	case p.Active:
		return p.CarrierName
	}
	return ""
}

// table writes aligned columns, indented by two, without trailing blanks.
type table struct {
	out   *strings.Builder
	lines strings.Builder
	tab   *tabwriter.Writer
}

func newTable(out *strings.Builder, columns ...string) *table {
	t := &table{out: out}
	t.tab = tabwriter.NewWriter(&t.lines, 0, 0, 2, ' ', 0)
	t.row(columns...)
	return t
}

func (t *table) row(cells ...string) {
	for i, c := range cells {
		if c = plain(c); c == "" && i < len(cells)-1 {
			c = "-"
		}
		cells[i] = c
	}
	_, _ = fmt.Fprintln(t.tab, strings.Join(cells, "\t"))
}

func (t *table) flush() {
	_ = t.tab.Flush() // into memory
	for line := range strings.Lines(t.lines.String()) {
		fmt.Fprintf(t.out, "  %s\n", strings.TrimRight(line, " \n"))
	}
}

// plain keeps control characters of others off the terminal.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '�'
		}
		return r
	}, s)
}

func joined[T fmt.Stringer](list []T) string {
	text := make([]string, len(list))
	for i, v := range list {
		text[i] = v.String()
	}
	return strings.Join(text, " ")
}

func endpoint(host string, port uint16) string {
	return net.JoinHostPort(host, strconv.Itoa(int(port)))
}

func address(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

// size writes bytes for people.
func size(n uint64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	f, i := float64(n)/unit, 0
	for f >= unit && i < len("KMGTPE")-1 {
		f /= unit
		i++
	}
	return fmt.Sprintf("%.1f %ciB", f, "KMGTPE"[i])
}
