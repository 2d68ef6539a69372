package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"alcove/kubernetes/internal/fault"
)

// components are the parts of the one process. If one of them ends while the
// others go on, its listener would stay open and its work undone, so its end
// is the end of all, and systemd starts the process anew.
type components struct {
	context context.Context
	cancel  context.CancelCauseFunc
	group   sync.WaitGroup
}

func newComponents(parent context.Context) *components {
	ctx, cancel := context.WithCancelCause(parent)
	return &components{context: ctx, cancel: cancel}
}

// Start runs a part in its own goroutine.
func (c *components) Start(name string, run func(context.Context) error) {
	c.group.Add(1)
	go func() {
		defer c.group.Done()
		err := run(c.context)
		if c.context.Err() != nil {
			return
		}
		if err == nil {
			err = fault.New(fault.CodeComponentEnded, name+" ended", "the service restarts by itself; the log above says why it ended")
		}
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		c.cancel(err)
	}()
}

// Chore runs something that may end while the rest goes on; only its error
// ends the process.
func (c *components) Chore(name string, run func(context.Context) error) {
	c.group.Add(1)
	go func() {
		defer c.group.Done()
		if err := run(c.context); err != nil && c.context.Err() == nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
			c.cancel(err)
		}
	}()
}

// Wait returns the reason of the end, nil for a wanted one. It gives the parts
// a while to finish: some upstream goroutines never return.
func (c *components) Wait(grace time.Duration) error {
	<-c.context.Done()
	done := make(chan struct{})
	go func() { c.group.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(grace):
	}
	if cause := context.Cause(c.context); cause != context.Canceled {
		return cause
	}
	return nil
}
