package images

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBundleBlobsAreStable(t *testing.T) {
	folder := t.TempDir()
	good := filepath.Join(folder, "good")
	if err := os.MkdirAll(filepath.Join(good, "rootfs"), 0o755); err != nil {
		t.Fatal(err)
	}
	layer := "sha256:" + strings.Repeat("a", 64)
	content := `{"ref":"alcove.local/x:1","architecture":"amd64","config":{"Entrypoint":["/x"]},"layer_digest":"` + layer + `"}`
	if err := os.WriteFile(filepath.Join(good, "image.json"), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	bad := filepath.Join(folder, "bad")
	if err := os.MkdirAll(bad, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(bad, "image.json"), []byte(`{"ref":"x"`), 0o600); err != nil {
		t.Fatal(err)
	}
	bundles, problems := Bundles(folder)
	if len(bundles) != 1 || len(problems) != 1 {
		t.Fatal(bundles, problems)
	}
	config, manifest, err := bundles[0].blobs()
	if err != nil {
		t.Fatal(err)
	}
	_, again, err := bundles[0].blobs()
	if err != nil || again.digest != manifest.digest {
		t.Fatal("the manifest's digest changes from start to start", err)
	}
	var parsed struct {
		Config struct{ Digest string }
		Layers []struct{ Digest string }
	}
	if err := json.Unmarshal(manifest.content, &parsed); err != nil || parsed.Config.Digest != config.digest || parsed.Layers[0].Digest != layer {
		t.Fatal(parsed, err)
	}
}

func TestLinkNeverThrowsContentAway(t *testing.T) {
	folder := t.TempDir()
	target := filepath.Join(folder, "snapshot", "fs")
	if err := os.MkdirAll(target, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, rootfs := range []string{"/one", "/one", "/two"} {
		if err := link(target, rootfs); err != nil {
			t.Fatal(err)
		}
		if got, err := os.Readlink(target); err != nil || got != rootfs {
			t.Fatal(got, err)
		}
	}
	full := filepath.Join(folder, "full")
	if err := os.MkdirAll(filepath.Join(full, "etc"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := link(full, "/one"); err == nil {
		t.Fatal("a folder with content was replaced")
	}
}

func TestRegistries(t *testing.T) {
	hosts, err := renderRegistries([]byte("mirrors:\n  docker.io:\n    endpoint: [\"https://mirror.lan:5000\"]\n  \"*\":\n    endpoint: [cache.lan]\nconfigs:\n  mirror.lan:5000:\n    tls: {insecure_skip_verify: true}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(hosts["docker.io"], "[host.\"https://mirror.lan:5000\"]") || !strings.Contains(hosts["docker.io"], "skip_verify = true") || !strings.Contains(hosts["_default"], "https://cache.lan") {
		t.Fatal(hosts)
	}
	for _, text := range []string{"mirror: {}", "mirrors: {\"../x\": {endpoint: [a]}}", "configs: {a: {auth: {username: u, password: p}}}"} {
		if _, err := renderRegistries([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}
