// Package sqlite says how kine keeps the cluster's store in SQLite.
package sqlite

import (
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	"github.com/k3s-io/kine/pkg/drivers/generic"
)

// Settings of the store. kine has no defaults of its own outside its own
// command, so each is said here.
const (
	// CompactInterval is how often what was replaced is forgotten.
	CompactInterval = 5 * time.Minute
	compactTimeout  = 5 * time.Second
	compactRetain   = 1000
	compactBatch    = 1000
	pollBatch       = 500
	// SQLite allows one writer; more connections only hold page caches.
	connections = 8
)

// source is the store's address. WAL with synchronous=FULL has every
// acknowledged write on the disk before it is acknowledged, so that neither a
// killed process nor lost power takes one back.
func source(file string) string {
	return "sqlite://" + file + "?_journal_mode=WAL&_busy_timeout=30000&_synchronous=FULL&_txlock=immediate" +
		"&_stmt_cache_size=20&_cache_size=-2000&cache=shared&_kine_disable_startup_vacuum"
}

// Config is how the store in this file is opened.
func Config(file string) *drivers.Config {
	return &drivers.Config{
		Endpoint:             source(file),
		ConnectionPoolConfig: generic.ConnectionPoolConfig{MaxIdle: connections, MaxOpen: connections, MaxIdleTime: 2 * time.Minute},
		CompactInterval:      CompactInterval, CompactIntervalJitter: 10, CompactTimeout: compactTimeout,
		CompactMinRetain: compactRetain, CompactBatchSize: compactBatch, PollBatchSize: pollBatch,
	}
}
