package sim

import (
	"fmt"
	"strings"
	"sync"
	"time"
)

// journal is what happened, and what of it should not have.
type journal struct {
	began time.Time
	echo  func(string) // nil: nobody listens

	mu      sync.Mutex
	lines   []string
	faults  []Violation
	pending chan struct{} // closed with the first violation
}

func (*journal) now() time.Time { return time.Now() }

func (j *journal) notef(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(fmt.Sprintf(format, args...))
}

func (j *journal) add(text string) {
	line := fmt.Sprintf("%9.3f  %s", time.Since(j.began).Seconds(), text)
	j.lines = append(j.lines, line)
	if j.echo != nil {
		j.echo(line)
	}
}

func (j *journal) violatef(promise, format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	v := Violation{Promise: promise, At: time.Since(j.began), What: fmt.Sprintf(format, args...)}
	if len(j.faults) == 0 {
		close(j.pending)
	}
	j.faults = append(j.faults, v)
	j.add("!!! " + strings.TrimSpace(v.String()))
}
