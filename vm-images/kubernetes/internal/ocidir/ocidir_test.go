package ocidir

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestDigestDependsOnContentAlone(t *testing.T) {
	source := t.TempDir()
	file := filepath.Join(source, "prog")
	if err := os.WriteFile(file, []byte("x"), 0o755); err != nil {
		t.Fatal(err)
	}
	recipe := Recipe{Reference: "alcove.local/x:1", Architecture: "amd64", Config: []byte(`{}`), Files: map[string]string{"/bin/prog": "prog"}, Folders: []string{"/tmp"}}
	first, err := Make(recipe, []string{source}, filepath.Join(t.TempDir(), "a"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, time.Unix(1, 0), time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "b")
	second, err := Make(recipe, []string{source}, out)
	if err != nil || first.LayerDigest != second.LayerDigest {
		t.Fatal(first, second, err)
	}
	if err := WriteArchive(out, filepath.Join(t.TempDir(), "x.tar")); err != nil {
		t.Fatal(err)
	}
	recipe.Files["/missing"] = "missing"
	if _, err := Make(recipe, []string{source}, out); err == nil {
		t.Fatal("a missing file was passed over")
	}
}
