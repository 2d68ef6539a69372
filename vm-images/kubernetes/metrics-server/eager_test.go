package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

// kubelet says something new only every few questions, as a real one does.
type kubelet struct {
	asked int
	every int
	start time.Time
}

func (k *kubelet) Scrape(context.Context) *storage.MetricsBatch {
	reading := k.asked / k.every
	k.asked++
	point := storage.MetricsPoint{
		StartTime: k.start, Timestamp: k.start.Add(time.Hour + time.Duration(reading)*10*time.Second),
		CumulativeCPUUsed: uint64(1+reading) * 1e9, MemoryUsage: 1,
	}
	return &storage.MetricsBatch{
		Nodes: map[string]storage.MetricsPoint{"node": point},
		Pods:  map[types.NamespacedName]storage.PodMetricsPoint{{Namespace: "a", Name: "b"}: {Containers: map[string]storage.MetricsPoint{"c": point}}},
	}
}

func TestTheFirstScrapeIsEnoughToBeReady(t *testing.T) {
	source := &kubelet{every: 3, start: time.Now()}
	store := storage.NewStorage(30 * time.Second)
	scraper := &eager{inner: source, store: store, every: time.Millisecond}
	store.Store(scraper.Scrape(context.Background()))
	if !store.Ready() {
		t.Fatal("not ready after the first scrape")
	}
	if source.asked != 4 {
		t.Errorf("asked %d times", source.asked)
	}
	scraper.Scrape(context.Background())
	if source.asked != 5 {
		t.Error("a later scrape asks more than once")
	}
}

func TestASilentNodeHoldsNothingUp(t *testing.T) {
	store := storage.NewStorage(30 * time.Second)
	scraper := &eager{inner: &kubelet{every: 1 << 30, start: time.Now()}, store: store, every: time.Millisecond}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if scraper.Scrape(ctx) == nil || store.Ready() {
		t.Fatal("ready without a second reading")
	}
}

func TestTheCertificateServesBothNames(t *testing.T) {
	certificate, key, err := selfSigned("localhost", "apiserver-loopback-client")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tls.X509KeyPair(certificate, key); err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	pair, _ := tls.X509KeyPair(certificate, key)
	for _, name := range []string{"localhost", "apiserver-loopback-client"} {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
