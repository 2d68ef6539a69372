// Package kubeconfig writes kubeconfig files.
package kubeconfig

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"

	"alcove/kubernetes/internal/pki"
)

// Embedded writes a kubeconfig that holds its certificates, to be copied
// anywhere. The file is only touched when its content changes.
func Embedded(path, server, caFile, certificateFile, keyFile string, mode os.FileMode) error {
	var encoded [3]string
	for i, file := range []string{caFile, certificateFile, keyFile} {
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		encoded[i] = base64.StdEncoding.EncodeToString(raw)
	}
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority-data: %s
    server: %s
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
preferences: {}
users:
- name: default
  user:
    client-certificate-data: %s
    client-key-data: %s
`, encoded[0], server, encoded[1], encoded[2])
	return write(path, content, mode)
}

// Referring writes a kubeconfig that names its certificates' files, so that a
// renewed certificate is picked up where it lies.
func Referring(path, server, caFile, certificateFile, keyFile string) error {
	content := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters:
- cluster:
    certificate-authority: %s
    server: %s
  name: local
contexts:
- context:
    cluster: local
    namespace: default
    user: user
  name: Default
current-context: Default
preferences: {}
users:
- name: user
  user:
    client-certificate: %s
    client-key: %s
`, caFile, server, certificateFile, keyFile)
	return write(path, content, 0o600)
}

func write(path, content string, mode os.FileMode) error {
	if raw, err := os.ReadFile(path); err == nil && bytes.Equal(raw, []byte(content)) {
		return os.Chmod(path, mode)
	}
	return pki.WriteFile(path, []byte(content), mode)
}
