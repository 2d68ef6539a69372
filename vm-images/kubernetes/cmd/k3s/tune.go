package main

import (
	"context"
	"os"
	"runtime/debug"
	"time"
)

// A start allocates much and frees little: collecting garbage then is work
// without a harvest. Afterwards memory matters more than a little CPU.
const (
	startGarbage   = 400
	startLimit     = 400 << 20
	runningGarbage = 25
	settleTime     = 20 * time.Second
)

// tuneStart sets the collector for the start, unless the owner's GOGC or
// GOMEMLIMIT says otherwise.
func tuneStart() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(startGarbage)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(startLimit)
	}
}

// tuneRunning sets the collector for the long run and gives back what the
// start has used, once informers have settled.
func tuneRunning(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	select {
	case <-ctx.Done():
		return
	case <-time.After(settleTime):
	}
	debug.SetGCPercent(runningGarbage)
	debug.FreeOSMemory()
}
