package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"time"

	"go.uber.org/fx"
)

// Tasks are what runs in the background. Each is a function that returns when its
// context ends; one that fails or panics before is run again, a little later, and
// logged: no task's failure ends the process.
type Tasks struct {
	log *slog.Logger

	ctx    context.Context //nolint:containedctx // of all tasks: it ends when the process does
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu     sync.Mutex
	failed map[string]error
}

func newTasks(log *slog.Logger) *Tasks {
	t := &Tasks{log: log, failed: map[string]error{}}
	t.ctx, t.cancel = context.WithCancel(context.Background())
	return t
}

// end ends all tasks, and waits for them until ctx ends.
func (t *Tasks) end(ctx context.Context) error {
	t.cancel()
	done := make(chan struct{})
	go func() { t.wg.Wait(); close(done) }()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("tasks did not end: %w", ctx.Err())
	}
}

// again is how long a task that failed is left alone.
const again = time.Second

// Go runs a task from now on.
func (t *Tasks) Go(name string, run func(context.Context) error) {
	t.wg.Go(func() {
		for {
			err := t.once(run)
			if t.ctx.Err() != nil {
				return
			}
			if err == nil {
				err = fmt.Errorf("it ended by itself")
			}
			t.note(name, err)
			t.log.Error("a background task failed, and is run again", "task", name, "err", err)
			select {
			case <-t.ctx.Done():
				return
			case <-time.After(again):
			}
			t.note(name, nil)
		}
	})
}

// once runs a task, and makes an error of a panic.
func (t *Tasks) once(run func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return run(t.ctx)
}

func (t *Tasks) note(name string, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failed[name] = err; err == nil {
		delete(t.failed, name)
	}
}

// Failing is what fails just now, by task.
func (t *Tasks) Failing() map[string]error {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(t.failed)
}

// Run wires a process, starts it, waits until ctx ends, and stops it: first its
// tasks, and then, by the hooks of fx, what they work with.
func Run(ctx context.Context, log *slog.Logger, options ...fx.Option) error {
	const patience = 15 * time.Second
	tasks := newTasks(log)
	app := fx.New(
		fx.Supply(log, tasks),
		fx.NopLogger, // what is wrong comes back as an error
		fx.StartTimeout(patience), fx.StopTimeout(patience),
		fx.Options(options...),
	)
	end := func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		err := tasks.end(ctx)
		return errors.Join(err, app.Stop(ctx))
	}
	if err := app.Err(); err != nil {
		return errors.Join(cause(err), end())
	}
	start, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch err := app.Start(start); {
	case ctx.Err() != nil: // told to stop while it starts
		return end()
	case err != nil:
		return errors.Join(cause(err), end())
	}
	Notify("READY=1")
	<-ctx.Done()
	log.Info("stopping")
	Notify("STOPPING=1")
	return end()
}
