// Package ocidir puts container images together from plain files: as unpacked
// folders that a guest carries, and as archives that any containerd imports.
package ocidir

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

// Recipe is an image's image.json in the sources: what it is called, how it
// runs, and which built files it holds.
type Recipe struct {
	Reference    string            `json:"ref"`
	Architecture string            `json:"architecture,omitempty"`
	Config       json.RawMessage   `json:"config"`
	Files        map[string]string `json:"files,omitempty"`
	Folders      []string          `json:"folders,omitempty"`
}

// Image is what the guest reads: the recipe's head and the layer's digest.
type Image struct {
	Reference    string          `json:"ref"`
	Architecture string          `json:"architecture"`
	Config       json.RawMessage `json:"config"`
	LayerDigest  string          `json:"layer_digest"`
}

// ReadRecipe reads and checks a recipe.
func ReadRecipe(file string) (Recipe, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Recipe{}, err
	}
	recipe := Recipe{}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&recipe); err != nil {
		return Recipe{}, fmt.Errorf("%s: %w", file, err)
	}
	if recipe.Reference == "" || len(recipe.Config) == 0 {
		return Recipe{}, fmt.Errorf("%s: ref and config are needed", file)
	}
	if recipe.Architecture == "" {
		recipe.Architecture = "amd64"
	}
	return recipe, nil
}

// Make puts one image together below out: out/rootfs and out/image.json. The
// sources of a recipe's files are sought in the given folders, in order. A
// rootfs that already lies there and is named by no files stays as it is, so
// that another tool may have made it.
func Make(recipe Recipe, sources []string, out string) (Image, error) {
	rootfs := filepath.Join(out, "rootfs")
	if len(recipe.Files) > 0 {
		if err := os.RemoveAll(rootfs); err != nil {
			return Image{}, err
		}
	}
	if err := os.MkdirAll(rootfs, 0o755); err != nil {
		return Image{}, err
	}
	for _, folder := range recipe.Folders {
		path := filepath.Join(rootfs, filepath.Clean("/"+folder))
		if err := os.MkdirAll(path, 0o755); err != nil {
			return Image{}, err
		}
		if filepath.Base(path) == "tmp" {
			if err := os.Chmod(path, 0o777|os.ModeSticky); err != nil {
				return Image{}, err
			}
		}
	}
	for target, source := range recipe.Files {
		if err := copyFrom(sources, source, filepath.Join(rootfs, filepath.Clean("/"+target))); err != nil {
			return Image{}, err
		}
	}
	hash := sha256.New()
	if err := WriteLayer(hash, rootfs); err != nil {
		return Image{}, err
	}
	image := Image{
		Reference: recipe.Reference, Architecture: recipe.Architecture, Config: recipe.Config,
		LayerDigest: "sha256:" + hex.EncodeToString(hash.Sum(nil)),
	}
	raw, err := json.MarshalIndent(image, "", "  ")
	if err != nil {
		return Image{}, err
	}
	return image, os.WriteFile(filepath.Join(out, "image.json"), append(raw, '\n'), 0o644)
}

func copyFrom(sources []string, name, target string) error {
	for _, folder := range sources {
		path := filepath.Join(folder, name)
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			continue
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(target, content, info.Mode().Perm()|0o444)
	}
	return fmt.Errorf("%s lies in none of %s", name, strings.Join(sources, ", "))
}

// WriteLayer writes a folder as a tar that depends on nothing but its content:
// sorted, owned by root, without times. Its digest names the layer.
func WriteLayer(out io.Writer, root string) error {
	paths := []string{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if err == nil && path != root {
			paths = append(paths, path)
		}
		return err
	})
	if err != nil {
		return err
	}
	sort.Strings(paths)
	archive := tar.NewWriter(out)
	for _, path := range paths {
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		link := ""
		if info.Mode()&os.ModeSymlink != 0 {
			if link, err = os.Readlink(path); err != nil {
				return err
			}
		}
		header, err := tar.FileInfoHeader(info, link)
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		header.Name = filepath.ToSlash(name)
		if info.IsDir() {
			header.Name += "/"
		}
		header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
		header.ModTime, header.AccessTime, header.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
		header.Format = tar.FormatPAX
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if !info.Mode().IsRegular() {
			continue
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		_, err = io.Copy(archive, file)
		file.Close()
		if err != nil {
			return err
		}
	}
	return archive.Close()
}

// WriteArchive writes a made image as an OCI archive, for agent/images of an
// official K3s or for any other containerd.
func WriteArchive(folder, file string) error {
	raw, err := os.ReadFile(filepath.Join(folder, "image.json"))
	if err != nil {
		return err
	}
	image := Image{}
	if err := json.Unmarshal(raw, &image); err != nil {
		return err
	}
	var layer bytes.Buffer
	if err := WriteLayer(&layer, filepath.Join(folder, "rootfs")); err != nil {
		return err
	}
	config, err := json.Marshal(map[string]any{
		"architecture": image.Architecture, "os": "linux", "config": image.Config,
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{image.LayerDigest}},
	})
	if err != nil {
		return err
	}
	describe := func(mediaType string, content []byte) map[string]any {
		sum := sha256.Sum256(content)
		return map[string]any{"mediaType": mediaType, "digest": "sha256:" + hex.EncodeToString(sum[:]), "size": len(content)}
	}
	const prefix = "application/vnd.oci.image."
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": prefix + "manifest.v1+json",
		"config": describe(prefix+"config.v1+json", config),
		"layers": []any{describe(prefix+"layer.v1.tar", layer.Bytes())},
	})
	if err != nil {
		return err
	}
	entry := describe(prefix+"manifest.v1+json", manifest)
	entry["annotations"] = map[string]string{
		"io.containerd.image.name":          image.Reference,
		"org.opencontainers.image.ref.name": image.Reference[strings.LastIndex(image.Reference, ":")+1:],
	}
	entry["platform"] = map[string]string{"architecture": image.Architecture, "os": "linux"}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": prefix + "index.v1+json", "manifests": []any{entry}})
	if err != nil {
		return err
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	archive := tar.NewWriter(out)
	add := func(name string, content []byte) {
		if err == nil {
			err = archive.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content)), Format: tar.FormatUSTAR})
		}
		if err == nil {
			_, err = archive.Write(content)
		}
	}
	add("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`))
	add("index.json", index)
	for _, content := range [][]byte{manifest, config, layer.Bytes()} {
		sum := sha256.Sum256(content)
		add("blobs/sha256/"+hex.EncodeToString(sum[:]), content)
	}
	if err == nil {
		err = archive.Close()
	}
	if closeErr := out.Close(); err == nil {
		err = closeErr
	}
	return err
}
