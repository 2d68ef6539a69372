package manifests

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParseSortsAndRefuses(t *testing.T) {
	objects, err := Parse([]byte("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n# nothing\n---\napiVersion: v1\nkind: Namespace\nmetadata: {name: space}\n"))
	if err != nil || len(objects) != 2 || objects[0].GetKind() != "Namespace" {
		t.Fatal(objects, err)
	}
	for _, text := range []string{"kind: ConfigMap\nmetadata: {name: a}", "apiVersion: v1\nkind: ConfigMap", "a: ["} {
		if _, err := Parse([]byte(text)); !errors.Is(err, errMalformed) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestBundle(t *testing.T) {
	folder := t.TempDir()
	values := Values{ClusterDNS: "10.43.0.10", ClusterDomain: "home.lan"}
	remove, err := Bundle(folder, values, map[string]bool{"metrics-server": true})
	if err != nil || len(remove) != 0 {
		t.Fatal(remove, err)
	}
	raw, err := os.ReadFile(filepath.Join(folder, "coredns.yaml"))
	if err != nil || !strings.Contains(string(raw), "clusterIP: 10.43.0.10") || !strings.Contains(string(raw), "kubernetes home.lan") || strings.Contains(string(raw), "%{") {
		t.Fatal(string(raw), err)
	}
	entries, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(entries) != 3 {
		t.Fatal(entries, err)
	}
	for _, file := range entries {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Parse(content); err != nil {
			t.Errorf("%s: %v", file, err)
		}
	}
	if remove, err = Bundle(folder, values, map[string]bool{"metrics-server": true, "coredns": true}); err != nil || len(remove) != 1 {
		t.Fatal(remove, err)
	}
}
