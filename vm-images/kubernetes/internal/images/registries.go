package images

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"alcove/kubernetes/internal/pki"
)

// registries is K3s's registries.yaml, as far as containerd's host files can
// say it.
type registries struct {
	Mirrors map[string]struct {
		Endpoint []string          `json:"endpoint"`
		Rewrite  map[string]string `json:"rewrite"`
	} `json:"mirrors"`
	Configs map[string]struct {
		Auth *struct {
			Username string `json:"username"`
			Password string `json:"password"`
			Auth     string `json:"auth"`
			Token    string `json:"identity_token"`
		} `json:"auth"`
		TLS *struct {
			CAFile   string `json:"ca_file"`
			CertFile string `json:"cert_file"`
			KeyFile  string `json:"key_file"`
			Insecure bool   `json:"insecure_skip_verify"`
		} `json:"tls"`
	} `json:"configs"`
}

// WriteRegistries turns registries.yaml into containerd's folder of hosts. A
// missing file clears it.
func WriteRegistries(file, folder string) error {
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	raw, err := os.ReadFile(file)
	if os.IsNotExist(err) {
		return os.MkdirAll(folder, 0o700)
	}
	if err != nil {
		return err
	}
	hosts, err := renderRegistries(raw)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	for name, content := range hosts {
		if err := pki.WriteFile(filepath.Join(folder, name, "hosts.toml"), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return os.MkdirAll(folder, 0o700)
}

func renderRegistries(raw []byte) (map[string]string, error) {
	var settings registries
	if err := yaml.UnmarshalStrict(raw, &settings); err != nil {
		return nil, err
	}
	for name, entry := range settings.Configs {
		if entry.Auth != nil {
			return nil, fmt.Errorf("configs of %q hold credentials, which this distribution takes from image pull secrets only", name)
		}
	}
	result := map[string]string{}
	for name, mirror := range settings.Mirrors {
		if len(mirror.Rewrite) > 0 {
			return nil, fmt.Errorf("the mirror of %q rewrites names, which containerd does not do", name)
		}
		folder := name
		if name == "*" {
			folder = "_default"
		}
		if strings.ContainsAny(folder, "/\\") || strings.HasPrefix(folder, ".") {
			return nil, fmt.Errorf("%q is not the name of a registry", name)
		}
		var out strings.Builder
		for _, endpoint := range mirror.Endpoint {
			if !strings.Contains(endpoint, "://") {
				endpoint = "https://" + endpoint
			}
			address, err := url.Parse(endpoint)
			if err != nil || address.Host == "" {
				return nil, fmt.Errorf("the endpoint %q of %q is not an address", endpoint, name)
			}
			fmt.Fprintf(&out, "[host.%q]\n  capabilities = [\"pull\", \"resolve\"]\n", endpoint)
			entry, found := settings.Configs[address.Host]
			if !found || entry.TLS == nil {
				continue
			}
			if entry.TLS.Insecure {
				out.WriteString("  skip_verify = true\n")
			}
			if entry.TLS.CAFile != "" {
				fmt.Fprintf(&out, "  ca = %q\n", entry.TLS.CAFile)
			}
			if entry.TLS.CertFile != "" && entry.TLS.KeyFile != "" {
				fmt.Fprintf(&out, "  client = [[%q, %q]]\n", entry.TLS.CertFile, entry.TLS.KeyFile)
			}
		}
		result[folder] = out.String()
	}
	return result, nil
}
