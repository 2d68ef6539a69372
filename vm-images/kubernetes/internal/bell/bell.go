// Package bell wakes a loop that looks at everything anew when something has
// changed.
package bell

import (
	"time"

	"k8s.io/client-go/tools/cache"
)

// Bell is received from after it was rung, once for all rings since the last
// time.
type Bell chan struct{}

// New makes a bell that has not been rung.
func New() Bell { return make(Bell, 1) }

// Ring wakes whoever receives, now or when it comes to it.
func (b Bell) Ring() {
	select {
	case b <- struct{}{}:
	default:
	}
}

// RingAfter rings when a while is over.
func (b Bell) RingAfter(while time.Duration) { time.AfterFunc(while, b.Ring) }

// Changes rings for whatever happens to watched objects.
func (b Bell) Changes() cache.ResourceEventHandlerFuncs {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { b.Ring() }, UpdateFunc: func(any, any) { b.Ring() }, DeleteFunc: func(any) { b.Ring() },
	}
}
