package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	_ "github.com/k3s-io/kine/pkg/drivers/sqlite"
)

// TestWhatWasReplacedIsForgotten: every write is a row of its own, and the
// disk would be full of them one day.
func TestWhatWasReplacedIsForgotten(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.db")
	config := Config(file)
	if config.CompactInterval <= 0 || config.CompactInterval > time.Hour || config.CompactMinRetain <= 0 || config.CompactTimeout <= 0 {
		t.Fatalf("the store is not compacted: %+v", config)
	}
	// The rest is as it is in a machine.
	config.CompactInterval, config.CompactMinRetain = 100*time.Millisecond, 10
	ctx, stop := context.WithCancel(t.Context())
	group := &sync.WaitGroup{}
	t.Cleanup(func() { stop(); group.Wait() })
	_, backend, err := drivers.New(ctx, group, config)
	if err != nil {
		t.Fatal(err)
	}
	if err := backend.Start(ctx); err != nil {
		t.Fatal(err)
	}
	const key, writes = "/registry/configmaps/default/own", 500
	revision, err := backend.Create(ctx, key, []byte("first"), 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range writes {
		next, _, updated, err := backend.Update(ctx, key, fmt.Appendf(nil, "value %d", i), revision, 0)
		if err != nil || !updated {
			t.Fatal(i, updated, err)
		}
		revision = next
	}
	file += "?_busy_timeout=30000&mode=ro"
	database, err := sql.Open("sqlite3", "file:"+file)
	if err != nil {
		t.Fatal(err)
	}
	defer database.Close()
	rows := writes
	for deadline := time.Now().Add(time.Minute); rows > writes/5; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d rows are left of %d writes", rows, writes)
		}
		if err := database.QueryRow("SELECT COUNT(*) FROM kine WHERE name = ?", key).Scan(&rows); err != nil {
			t.Fatal(err)
		}
	}
	_, kept, err := backend.Get(ctx, key, 0, false)
	if err != nil || kept == nil || string(kept.Value) != fmt.Sprintf("value %d", writes-1) {
		t.Fatal("the last value is gone:", kept, err)
	}
}
