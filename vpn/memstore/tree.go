package memstore

import (
	"errors"
	"math/rand/v2"
)

var errReadOnly = errors.New("memstore: put within a view")

// node is the root of a treap: a search tree by key that is a heap by rank.
// Ranks are random, which keeps it about as deep as a balanced one. A node that
// a finished transaction made is never changed, so that each root is a version
// of the map for as long as somebody holds it.
type node struct {
	key         string
	value       []byte
	rank        uint64
	by          *owner
	left, right *node
}

// owner is a transaction that may change the nodes that it made itself.
type owner struct{ _ byte }

// mine returns n if o made it, or a copy that o may change.
func (o *owner) mine(n *node) *node {
	if n.by == o {
		return n
	}
	c := *n
	c.by = o
	return &c
}

func (n *node) find(key string) *node {
	for n != nil && n.key != key {
		if key < n.key {
			n = n.left
		} else {
			n = n.right
		}
	}
	return n
}

// scan visits from <= key < to in order, until visit says false.
func (n *node) scan(from, to string, visit func(*node) bool) bool {
	if n == nil {
		return true
	}
	if n.key >= from {
		if !n.left.scan(from, to, visit) || n.key >= to || !visit(n) {
			return false
		}
	}
	return n.right.scan(from, to, visit)
}

func (o *owner) put(n *node, key string, value []byte) *node {
	if n == nil {
		return &node{key: key, value: value, rank: rand.Uint64(), by: o} //nolint:gosec // balance, not a secret
	}
	n = o.mine(n)
	switch {
	case key < n.key:
		n.left = o.put(n.left, key, value)
		if l := n.left; l.rank > n.rank {
			n.left, l.right = l.right, n
			return l
		}
	case key > n.key:
		n.right = o.put(n.right, key, value)
		if r := n.right; r.rank > n.rank {
			n.right, r.left = r.left, n
			return r
		}
	default:
		n.value = value
	}
	return n
}

// remove takes out a key that is there.
func (o *owner) remove(n *node, key string) *node {
	if key == n.key {
		return o.join(n.left, n.right)
	}
	n = o.mine(n)
	if key < n.key {
		n.left = o.remove(n.left, key)
	} else {
		n.right = o.remove(n.right, key)
	}
	return n
}

// join makes one tree of two, all keys of a being less than those of b.
func (o *owner) join(a, b *node) *node {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.rank > b.rank:
		a = o.mine(a)
		a.right = o.join(a.right, b)
		return a
	default:
		b = o.mine(b)
		b.left = o.join(a, b.left)
		return b
	}
}
