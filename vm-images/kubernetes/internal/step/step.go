// Package step prints the phases of a start in a stable form, one line each:
//
//	alcove-step <name> <state>
//
// The guest's daemon turns these lines into the boot steps that a person sees.
package step

import (
	"fmt"
	"io"
	"os"
	"sync"
)

// States of a step.
const (
	Started = "started"
	Done    = "done"
	Ready   = "ready"
	Failed  = "failed"
)

var (
	mutex sync.Mutex
	// Output is where the lines go; tests replace it.
	Output io.Writer = os.Stdout
)

// Report prints one line. Lines of concurrent steps never mix.
func Report(name, state string) {
	mutex.Lock()
	defer mutex.Unlock()
	fmt.Fprintf(Output, "alcove-step %s %s\n", name, state)
}
