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
	ctx, stop := context.WithCancel(t.Context())
	ticks, due := make(chan time.Time), make(chan []string, 1)
	go func() { due <- Watch(ctx, ticks, folder) }()
	for range 3 {
		ticks <- time.Time{}
	}
	slept.Store(int64(LeafLifetime - RenewBefore/2))
	ticks <- time.Time{}
	if found := <-due; len(found) != 9 {
		t.Fatal(found)
	}
	slept.Store(0)
	go func() { due <- Watch(ctx, ticks, folder) }()
	ticks <- time.Time{}
	stop()
	if found := <-due; found != nil {
		t.Fatal(found)
	}
}
