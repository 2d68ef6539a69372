package main

import (
	"context"
	"time"

	"sigs.k8s.io/metrics-server/pkg/scraper"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

// secondReading is how often the nodes are asked until they say something new
// for the first time. The kubelet takes its own readings every few seconds
// after a start.
const secondReading = 2 * time.Second

// eager makes of the first scrape two: a use is the difference between two
// readings, so without a second one there is nothing to tell.
type eager struct {
	inner  scraper.Scraper
	store  storage.Storage
	every  time.Duration
	second bool // the second reading has been taken
}

// Scrape is called by one goroutine, once per resolution, with a context that
// ends with it.
func (e *eager) Scrape(ctx context.Context) *storage.MetricsBatch {
	batch := e.inner.Scrape(ctx)
	for !e.second {
		e.store.Store(batch)
		if e.store.Ready() {
			e.second = true
			break
		}
		select {
		case <-ctx.Done():
			return batch
		case <-time.After(e.every):
		}
		batch = e.inner.Scrape(ctx)
	}
	return batch
}
