package main

import (
	"context"
	"net"
	"sync"
	"time"
)

// gate holds back clients of the API until it answers. Client libraries that
// meet a closed port wait longer after every failure; a dial that waits
// connects at the first moment.
type gate struct {
	once sync.Once
	open chan struct{}
}

func newGate() *gate { return &gate{open: make(chan struct{})} }

// Open lets everyone through, now and later.
func (g *gate) Open() { g.once.Do(func() { close(g.open) }) }

// Wait returns when the gate is open or the context ends.
func (g *gate) Wait(ctx context.Context) error {
	select {
	case <-g.open:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Dial is for rest.Config: it waits at the gate first.
func (g *gate) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if err := g.Wait(ctx); err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	return dialer.DialContext(ctx, network, address)
}
