package pki

import (
	"context"
	"sync/atomic"
	"testing"
	"time"
)

// TestCertificatesAreDueRightAfterALongSuspend: months go by, and the machine
// has seen a minute.
func TestCertificatesAreDueRightAfterALongSuspend(t *testing.T) {
	folder := t.TempDir()
	if _, _, err := EnsureServer(folder, names()); err != nil {
		t.Fatal(err)
	}
	var slept atomic.Int64
	clock = func() time.Time { return time.Now().Add(time.Duration(slept.Load())) }
	t.Cleanup(func() { clock = time.Now })
	ticks := make(chan time.Time)
	// What is due after so many ticks; the clock stands while it is looked for.
	after := func(count int) []string {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		due := make(chan []string, 1)
		go func() { due <- Watch(ctx, ticks, folder) }()
		for range count {
			select {
			case ticks <- time.Time{}:
			case found := <-due:
				return found
			}
		}
		// The next tick is taken when the last look has found nothing.
		select {
		case found := <-due:
			return found
		case ticks <- time.Time{}:
		}
		stop()
		return <-due
	}
	if found := after(3); found != nil {
		t.Fatal(found)
	}
	slept.Store(int64(LeafLifetime - RenewBefore/2))
	if found := after(1); len(found) != 9 {
		t.Fatal(found)
	}
	slept.Store(0)
	if found := after(1); found != nil {
		t.Fatal(found)
	}
}
