package main

import (
	"os"

	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

// kubectl is Kubernetes' own command line. Like K3s's it finds the
// administrator's kubeconfig by itself.
func kubectl(arguments []string) int {
	if os.Getenv("KUBECONFIG") == "" {
		if _, err := os.Stat("/etc/rancher/k3s/k3s.yaml"); err == nil {
			os.Setenv("KUBECONFIG", "/etc/rancher/k3s/k3s.yaml")
		}
	}
	os.Args = append([]string{"kubectl"}, arguments...)
	command := cmd.NewDefaultKubectlCommand()
	if err := cli.RunNoErrOutput(command); err != nil {
		util.CheckErr(err)
	}
	return 0
}
