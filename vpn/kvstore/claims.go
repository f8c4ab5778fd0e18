package kvstore

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/holdfastvpn/holdfast/location"
)

// holder is who holds a claim.
func holder(kind, id string) string { return kind + "/" + id }

// distinct returns claims without those that another of them covers: a row may
// hold an address and a prefix around it, and holds the prefix then. Prefixes
// nest or are apart, so what is left does not overlap.
func distinct(claims []location.Claim) []location.Claim {
	var out []location.Claim
	for i, c := range claims {
		covered := c.Name == "" && !c.Prefix.IsValid()
		for j, o := range claims {
			if i != j && covers(o, c) && (!covers(c, o) || j < i) {
				covered = true
			}
		}
		if !covered {
			out = append(out, c)
		}
	}
	return out
}

func covers(a, b location.Claim) bool {
	if a.Scope != b.Scope || a.Prefix.IsValid() != b.Prefix.IsValid() {
		return false
	}
	if !a.Prefix.IsValid() {
		return a.Name == b.Name
	}
	return a.Prefix.Bits() <= b.Prefix.Bits() && a.Prefix.Contains(b.Prefix.Addr())
}

// claim changes what a row holds from have to want, or returns taken with the
// claim that somebody else holds. What the row itself held is free before
// anything new is looked at.
func claim(tx Tx, who string, have, want []location.Claim, taken func(location.Claim) error) error {
	have, want = distinct(have), distinct(want)
	for _, c := range have {
		if !slices.Contains(want, c) {
			if err := tx.Put(claimKey(c), nil); err != nil {
				return err
			}
		}
	}
	for _, c := range want {
		if slices.Contains(have, c) {
			continue
		}
		other, err := held(tx, c)
		if err != nil {
			return err
		}
		if other != "" {
			return fmt.Errorf("%w: %s is held by %s", taken(c), text(c), other)
		}
		value := who
		if c.Prefix.IsValid() {
			value = c.Prefix.String() + " " + who
		}
		if err := tx.Put(claimKey(c), []byte(value)); err != nil {
			return err
		}
	}
	return nil
}

// held returns who holds c or a part of it, "" if nobody does. Prefixes that are
// held are apart, so the first that ends where c begins or later is the only one
// that can overlap it: it does when it begins before c ends.
func held(tx Tx, c location.Claim) (string, error) {
	if !c.Prefix.IsValid() {
		b, err := tx.Get(nameKey(c))
		return string(b), err
	}
	from := prefixKey(c.Scope, c.Prefix.Addr())
	for p, err := range tx.Scan(from, after(familyKey(c.Scope, c.Prefix.Addr()))) {
		if err != nil {
			return "", err
		}
		prefix, who, _ := strings.Cut(string(p.Value), " ")
		o, err := netip.ParsePrefix(prefix)
		if err != nil {
			return "", fmt.Errorf("damaged claim %s: %w", p.Key, err)
		}
		if o.Overlaps(c.Prefix) {
			return who + " with " + prefix, nil
		}
		return "", nil
	}
	return "", nil
}

func claimKey(c location.Claim) string {
	if !c.Prefix.IsValid() {
		return nameKey(c)
	}
	_, last := location.Range(c.Prefix)
	return prefixKey(c.Scope, last)
}

func text(c location.Claim) string {
	if !c.Prefix.IsValid() {
		return fmt.Sprintf("%q", c.Name)
	}
	return c.Prefix.String()
}
