package gateway

import "slices"

// Pool is a ControlPlane that stands for several which come and go, such as the
// cores that have a link to this gateway. It does what Planes does with those
// that are there. While there is none, streams wait for one to come, and Report
// fails. It is safe for concurrent use; make one with NewPool.
type Pool struct {
	planes

	names []string // by index; guarded by planes.mu
}

var _ ControlPlane = (*Pool)(nil)

// NewPool returns a Pool of none.
func NewPool() *Pool {
	return &Pool{planes: planes{waits: true, tables: map[place]*table{}}}
}

// Put says that the plane of the name is there, in place of the one before. Of
// that one, streams go on until they end by themselves, as those on a link do.
func (p *Pool) Put(name string, c ControlPlane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.names, name)
	if i < 0 {
		i = len(p.names)
		p.names, p.all = append(p.names, name), append(p.all, nil)
	}
	p.all[i] = c
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// Drop says that the plane of the name is away, if it is c still.
func (p *Pool) Drop(name string, c ControlPlane) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.names, name); i >= 0 && p.all[i] == c {
		p.all[i] = nil
	}
}

// Names returns those that are there, in the order in which they came first.
func (p *Pool) Names() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []string
	for i, c := range p.all {
		if c != nil {
			all = append(all, p.names[i])
		}
	}
	return all
}
