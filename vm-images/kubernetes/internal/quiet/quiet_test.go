package quiet

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
)

func TestAListedMessageIsNotRepeated(t *testing.T) {
	lines := []string{}
	inner := funcr.New(func(_, line string) { lines = append(lines, line) }, funcr.Options{})
	logger := Logger(inner, time.Hour, "waiting")
	for range 5 {
		logger.Error(errors.New("not yet"), "waiting")
		logger.WithName("part").WithValues("a", 1).WithCallDepth(1).Info("waiting")
		logger.Info("something else")
	}
	said := strings.Join(lines, "\n")
	if strings.Count(said, "waiting") != 1 || strings.Count(said, "something else") != 5 {
		t.Fatal(said)
	}
}

func TestItIsSaidAgainAfterAWhile(t *testing.T) {
	now := time.Now()
	s := &state{window: time.Minute, last: map[string]time.Time{"waiting": {}}, now: func() time.Time { return now }}
	if !s.passes("waiting") || s.passes("waiting") {
		t.Fatal("not once")
	}
	now = now.Add(time.Minute)
	if !s.passes("waiting") {
		t.Fatal("never again")
	}
}
