package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"alcove/kubernetes/internal/fault"
)

func load(t *testing.T, applet Applet, file string, arguments ...string) (*Config, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	if err := os.WriteFile(path, []byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return Load(applet, append([]string{"--config", path}, arguments...), func(string) string { return "" })
}

func TestFileThenDropInThenCommandLine(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "config.yaml")
	write := func(name, content string) {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(path, "https-listen-port: 7443\nnode-label: [a=1]\ntls-san: one,two\nwrite-kubeconfig-mode: \"0640\"\ndisable: metrics-server\n")
	write(path+".d/10.yaml", "node-label+: [b=2]\nhttps-listen-port: 8443\n")
	c, err := Load(Server, []string{"--config", path, "--https-listen-port", "9443"}, func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	if c.Port != 9443 || strings.Join(c.NodeLabels, " ") != "a=1 b=2" || strings.Join(c.SANs, " ") != "one two" || c.KubeconfigMode != 0o640 || !c.Disabled["metrics-server"] {
		t.Fatalf("%+v", c)
	}
	if c.ClusterDNS != "10.43.0.10" || c.APIServiceIP() != "10.43.0.1" || !c.Embedded() || c.LocalStorage != "/var/lib/rancher/k3s/storage" {
		t.Fatalf("%+v", c)
	}
}

func TestRefusals(t *testing.T) {
	for name, entry := range map[string]struct {
		applet Applet
		file   string
		code   string
		words  string
	}{
		"unknown key":      {Server, "no-such-key: 1", fault.CodeConfigInvalid, "unknown key"},
		"server's key":     {Agent, "tls-san: a", fault.CodeConfigInvalid, "does not belong"},
		"cluster-init":     {Server, "cluster-init: true", fault.CodeUnsupported, "embedded etcd"},
		"port":             {Server, "https-listen-port: 70000", fault.CodeConfigInvalid, "not a port"},
		"overlap":          {Server, "cluster-cidr: 10.43.0.0/17", fault.CodeConfigInvalid, "overlap"},
		"addon":            {Server, "disable: [dns]", fault.CodeConfigInvalid, "no addon"},
		"dual stack":       {Server, "node-ip: 10.0.0.1,fd00::1", fault.CodeUnsupported, "more than one"},
		"list for a value": {Server, "data-dir: [a, b]", fault.CodeConfigInvalid, "one value"},
		"not YAML":         {Server, "a: [", fault.CodeConfigInvalid, "not valid YAML"},
		"snapshotter":      {Server, "snapshotter: stargz", fault.CodeUnsupported, "not built in"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, entry.applet, entry.file)
			var known *fault.Fault
			if !errors.As(err, &known) || known.Code != entry.code || !strings.Contains(err.Error(), entry.words) {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestPartsOfK3sThatAreAbsentMayBeDisabled(t *testing.T) {
	c, err := load(t, Server, "disable: [traefik, servicelb]")
	if err != nil || len(c.Disabled) != 0 {
		t.Fatal(c, err)
	}
}
