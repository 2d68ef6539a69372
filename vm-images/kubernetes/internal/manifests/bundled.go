package manifests

import (
	"bytes"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"alcove/kubernetes/internal/pki"
)

//go:embed addons/*.yaml
var addons embed.FS

// Values fill the places of the bundled addons.
type Values struct {
	ClusterDNS    string
	ClusterDomain string
}

func fill(raw []byte, values Values) []byte {
	return []byte(strings.NewReplacer("%{CLUSTER_DNS}", values.ClusterDNS, "%{CLUSTER_DOMAIN}", values.ClusterDomain).Replace(string(raw)))
}

// Bundle writes the addons that belong to this version below folder. For a
// disabled one it returns the manifest to be deleted, when it had been
// applied before.
func Bundle(folder string, values Values, disabled map[string]bool) (remove map[string][]byte, err error) {
	files, err := fs.Glob(addons, "addons/*.yaml")
	if err != nil {
		return nil, err
	}
	remove = map[string][]byte{}
	for _, file := range files {
		raw, err := addons.ReadFile(file)
		if err != nil {
			return nil, err
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		path := filepath.Join(folder, name+".yaml")
		current, readErr := os.ReadFile(path)
		if disabled[name] {
			if readErr == nil {
				remove[path] = current
			}
			continue
		}
		content := fill(raw, values)
		if readErr == nil && bytes.Equal(current, content) {
			continue
		}
		if err := pki.WriteFile(path, content, 0o600); err != nil {
			return nil, fmt.Errorf("writing %s: %w", path, err)
		}
	}
	return remove, nil
}
