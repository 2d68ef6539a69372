package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/klog/v2"

	"alcove/kubernetes/internal/fault"
)

// components are the parts of the one process. If one of them ends while the
// others go on, its listener would stay open and its work undone, so its end
// is the end of all, and systemd starts the process anew.
type components struct {
	context context.Context
	cancel  context.CancelFunc
	group   sync.WaitGroup
	mutex   sync.Mutex
	failure error
	running []string
}

// enter and leave keep the names of what has not ended, for a stop that takes
// too long has to say what it waits for.
func (c *components) enter(name string) {
	c.group.Add(1)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.running = append(c.running, name)
}

func (c *components) leave(name string) {
	c.mutex.Lock()
	if at := slices.Index(c.running, name); at >= 0 {
		c.running = slices.Delete(c.running, at, at+1)
	}
	c.mutex.Unlock()
	c.group.Done()
}

// fail ends everything; the first reason is the one that is told.
func (c *components) fail(name string, err error) {
	fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
	c.mutex.Lock()
	if c.failure == nil {
		c.failure = err
	}
	c.mutex.Unlock()
	c.cancel()
}

func newComponents(parent context.Context) *components {
	ctx, cancel := context.WithCancel(parent)
	c := &components{context: ctx, cancel: cancel}
	klog.OsExit = c.exit
	return c
}

// exit takes the place of os.Exit in upstream's parts. Some of them end the
// process when a request of their start fails, and in a stop such a request
// fails because the API server is already gone: that ends only the one who
// asked, so that the others still finish what they have begun.
func (c *components) exit(code int) {
	if c.context.Err() != nil {
		runtime.Goexit()
	}
	os.Exit(code)
}

// Start runs a part in its own goroutine.
func (c *components) Start(name string, run func(context.Context) error) {
	c.enter(name)
	go func() {
		defer c.leave(name)
		err := run(c.context)
		if c.context.Err() != nil {
			return
		}
		if err == nil {
			err = fault.New(fault.CodeComponentEnded, name+" ended", "the service restarts by itself; the log above says why it ended")
		}
		c.fail(name, err)
	}()
}

// Chore runs something that may end while the rest goes on; only its error
// ends the process.
func (c *components) Chore(name string, run func(context.Context) error) {
	c.enter(name)
	go func() {
		defer c.leave(name)
		if err := run(c.context); err != nil && c.context.Err() == nil {
			c.fail(name, err)
		}
	}()
}

// Wait returns the reason of the end, nil for a wanted one. It gives the parts
// a while to finish, and names those that did not.
func (c *components) Wait(grace time.Duration) error {
	<-c.context.Done()
	done := make(chan struct{})
	go func() { c.group.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(grace):
	}
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if len(c.running) > 0 {
		fmt.Fprintf(os.Stderr, "these did not end within %s: %s\n", grace, strings.Join(c.running, ", "))
	}
	return c.failure
}

// until runs what does not always heed its context, and leaves it to itself
// when that ends: much of upstream expects the process to end then.
func until(ctx context.Context, run func() error) error {
	ended := make(chan error, 1)
	go func() { ended <- run() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return nil
	}
}
