package pki

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Watch looks at every tick whether a certificate in these folders is due, and
// gives the first that are; none when the context ends. The ticks must come
// often: a clock that stands still while the machine is suspended drives them,
// and the calendar, which goes on, says what is due.
func Watch(ctx context.Context, ticks <-chan time.Time, folders ...string) []string {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks:
		}
		due, err := Due(folders...)
		if err != nil {
			fmt.Fprintln(os.Stderr, "the certificates could not be checked:", err)
			continue
		}
		if len(due) > 0 {
			return due
		}
	}
}
