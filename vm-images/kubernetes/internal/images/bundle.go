// Package images makes container images known to containerd: unpacked ones of
// the guest's own image without copying them, and archives that a person puts
// into agent/images.
package images

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sort"
)

// Bundle is an unpacked image: FOLDER/image.json and FOLDER/rootfs.
type Bundle struct {
	Reference    string          `json:"ref"`
	Architecture string          `json:"architecture"`
	Config       json.RawMessage `json:"config"`
	LayerDigest  string          `json:"layer_digest"`

	Rootfs string `json:"-"`
}

// blob is a piece of content with its digest.
type blob struct {
	mediaType string
	digest    string
	content   []byte
}

const (
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
)

func digest(content []byte) string {
	sum := sha256.Sum256(content)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Bundles reads every bundle below a folder. One that can't be read is
// reported and left out: the others are still wanted.
func Bundles(folder string) (bundles []Bundle, problems []error) {
	files, err := filepath.Glob(filepath.Join(folder, "*", "image.json"))
	if err != nil {
		return nil, []error{err}
	}
	sort.Strings(files)
	for _, file := range files {
		bundle, err := readBundle(file)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", file, err))
			continue
		}
		bundles = append(bundles, bundle)
	}
	return bundles, problems
}

func readBundle(file string) (Bundle, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return Bundle{}, err
	}
	bundle := Bundle{}
	if err := json.Unmarshal(raw, &bundle); err != nil {
		return Bundle{}, err
	}
	if bundle.Reference == "" || len(bundle.Config) == 0 {
		return Bundle{}, fmt.Errorf("it names no ref or no config")
	}
	if len(bundle.LayerDigest) != len("sha256:")+64 || bundle.LayerDigest[:7] != "sha256:" {
		return Bundle{}, fmt.Errorf("layer_digest %q is not a digest", bundle.LayerDigest)
	}
	bundle.Rootfs = filepath.Join(filepath.Dir(file), "rootfs")
	info, err := os.Stat(bundle.Rootfs)
	if err != nil {
		return Bundle{}, err
	}
	if !info.IsDir() {
		return Bundle{}, fmt.Errorf("rootfs is not a folder")
	}
	return bundle, nil
}

// blobs makes the image's config and manifest. The layer is named and never
// stored: its content is the rootfs that is already on the disk. For the first
// layer the chain id is the layer's own digest.
func (b Bundle) blobs() (config, manifest blob, err error) {
	architecture := b.Architecture
	if architecture == "" {
		architecture = "amd64"
	}
	configContent, err := json.Marshal(map[string]any{
		"architecture": architecture,
		"os":           "linux",
		"config":       b.Config,
		"rootfs":       map[string]any{"type": "layers", "diff_ids": []string{b.LayerDigest}},
		"history":      []map[string]any{{"created_by": "alcove"}},
	})
	if err != nil {
		return blob{}, blob{}, err
	}
	config = blob{mediaType: mediaConfig, digest: digest(configContent), content: configContent}
	manifestContent, err := json.Marshal(map[string]any{
		"schemaVersion": 2,
		"mediaType":     mediaManifest,
		"config":        map[string]any{"mediaType": mediaConfig, "digest": config.digest, "size": len(configContent)},
		"layers":        []map[string]any{{"mediaType": mediaLayer, "digest": b.LayerDigest, "size": 0}},
	})
	if err != nil {
		return blob{}, blob{}, err
	}
	return config, blob{mediaType: mediaManifest, digest: digest(manifestContent), content: manifestContent}, nil
}
