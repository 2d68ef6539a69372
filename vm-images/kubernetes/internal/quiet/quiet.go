// Package quiet lets a logger repeat itself less.
package quiet

import (
	"sync"
	"time"

	"github.com/go-logr/logr"
)

// Logger passes everything on, but each of these messages only once per
// window, whatever values come with it.
func Logger(inner logr.Logger, window time.Duration, messages ...string) logr.Logger {
	if inner.GetSink() == nil {
		return inner
	}
	shared := &state{window: window, last: map[string]time.Time{}, now: time.Now}
	for _, message := range messages {
		shared.last[message] = time.Time{}
	}
	// One more frame lies between the caller and the sink that names it.
	return inner.WithSink(&sink{LogSink: deeper(inner.GetSink(), 1), state: shared})
}

// state is shared by all loggers that come from one.
type state struct {
	mutex  sync.Mutex
	window time.Duration
	last   map[string]time.Time
	now    func() time.Time
}

func (s *state) passes(message string) bool {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	last, listed := s.last[message]
	if !listed {
		return true
	}
	now := s.now()
	if now.Sub(last) < s.window {
		return false
	}
	s.last[message] = now
	return true
}

type sink struct {
	logr.LogSink
	state *state
}

func deeper(inner logr.LogSink, depth int) logr.LogSink {
	if named, ok := inner.(logr.CallDepthLogSink); ok {
		return named.WithCallDepth(depth)
	}
	return inner
}

func (s *sink) Info(level int, message string, values ...any) {
	if s.state.passes(message) {
		s.LogSink.Info(level, message, values...)
	}
}

func (s *sink) Error(err error, message string, values ...any) {
	if s.state.passes(message) {
		s.LogSink.Error(err, message, values...)
	}
}

func (s *sink) WithValues(values ...any) logr.LogSink {
	return &sink{LogSink: s.LogSink.WithValues(values...), state: s.state}
}

func (s *sink) WithName(name string) logr.LogSink {
	return &sink{LogSink: s.LogSink.WithName(name), state: s.state}
}

func (s *sink) WithCallDepth(depth int) logr.LogSink {
	return &sink{LogSink: deeper(s.LogSink, depth), state: s.state}
}
