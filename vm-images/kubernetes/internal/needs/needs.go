// Package needs leaves out tests that this machine can't run, unless that was
// ruled out: a test that is left out counts as passed.
package needs

import (
	"os"
	"testing"
)

// Everything is the variable with which a test that would be left out fails.
const Everything = "ALCOVE_TEST_NEEDS_ROOT_TOOLS"

// Skip leaves the test out, or fails it where everything must be there.
func Skip(t testing.TB, format string, arguments ...any) {
	t.Helper()
	if os.Getenv(Everything) != "" {
		t.Fatalf("this must not be left out ("+Everything+" is set): "+format, arguments...)
	}
	t.Skipf(format, arguments...)
}
