package main

import (
	"errors"
	"testing"
	"time"
)

func TestAStopIsHeededWhileItStillStarts(t *testing.T) {
	stop := make(chan struct{})
	close(stop)
	hangs := func(<-chan struct{}) error { select {} }
	if err := until(stop, time.Millisecond, hangs); err != nil {
		t.Error(err)
	}
	failure := errors.New("no such flag")
	if err := until(nil, time.Hour, func(<-chan struct{}) error { return failure }); !errors.Is(err, failure) {
		t.Error(err)
	}
	orderly := func(stop <-chan struct{}) error { <-stop; return failure }
	if err := until(stop, time.Hour, orderly); !errors.Is(err, failure) {
		t.Error("what ends by itself is waited for:", err)
	}
}
