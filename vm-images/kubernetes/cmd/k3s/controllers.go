package main

import (
	"context"
	"strings"

	controllermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	"k8s.io/kubernetes/cmd/kube-controller-manager/app/options"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	scheduleroptions "k8s.io/kubernetes/cmd/kube-scheduler/app/options"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/fault"
)

// controllersLeftOut serve kubeadm's bootstrap tokens, several API servers or
// clouds. Each would keep informers of its own.
var controllersLeftOut = []string{
	"bootstrap-signer-controller", "token-cleaner-controller",
	"legacy-serviceaccount-token-cleaner-controller",
	"storageversion-garbage-collector-controller", "storage-version-migrator-controller",
	"selinux-warning-controller", "kube-apiserver-serving-clustertrustbundle-publisher-controller",
	"podcertificaterequest-cleaner-controller", "ttl-controller",
}

func controllerSettings(c *config.Config, store *datastore) map[string]string {
	tls := func(name string) string { return c.Path("server", "tls", name) }
	settings := map[string]string{
		"allocate-node-cidrs": "true",
		"cluster-cidr":        c.ClusterCIDR,
		"cluster-signing-kube-apiserver-client-cert-file": tls("client-ca.crt"),
		"cluster-signing-kube-apiserver-client-key-file":  tls("client-ca.key"),
		"cluster-signing-kubelet-client-cert-file":        tls("client-ca.crt"),
		"cluster-signing-kubelet-client-key-file":         tls("client-ca.key"),
		"cluster-signing-kubelet-serving-cert-file":       tls("server-ca.crt"),
		"cluster-signing-kubelet-serving-key-file":        tls("server-ca.key"),
		"cluster-signing-legacy-unknown-cert-file":        tls("server-ca.crt"),
		"cluster-signing-legacy-unknown-key-file":         tls("server-ca.key"),
		"configure-cloud-routes":                          "false",
		"controllers":                                     "*,-" + strings.Join(controllersLeftOut, ",-"),
		"kubeconfig":                                      c.Path("server", "cred", "controller.kubeconfig"),
		"leader-elect":                                    "false",
		"profiling":                                       "false",
		"root-ca-file":                                    tls("server-ca.crt"),
		"secure-port":                                     "0",
		"service-account-private-key-file":                tls("service.key"),
		"service-cluster-ip-range":                        c.ServiceCIDR,
		"use-service-account-credentials":                 "false",
		"concurrent-deployment-syncs":                     "2",
		"concurrent-replicaset-syncs":                     "2",
		"concurrent-namespace-syncs":                      "4",
		"concurrent-gc-syncs":                             "5",
		"kube-api-qps":                                    "100",
		"kube-api-burst":                                  "200",
	}
	if store.shared {
		settings["leader-elect"] = "true"
	}
	return settings
}

// runControllers runs the controller-manager until the context ends.
func runControllers(ctx context.Context, c *config.Config, store *datastore) error {
	managerOptions, err := options.NewKubeControllerManagerOptions()
	if err != nil {
		return err
	}
	named := managerOptions.Flags(controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases())
	if err := parse("kube-controller-manager", joined("kube-controller-manager", named), controllerSettings(c, store), c.ControllerArgs); err != nil {
		return err
	}
	setup, err := managerOptions.Config(ctx, controllermanager.KnownControllers(), controllermanager.ControllersDisabledByDefault(), controllermanager.ControllerAliases())
	if err != nil {
		return fault.Wrap(fault.CodeConfigInvalid, err, "the controllers could not be set up", "check kube-controller-manager-arg in the configuration")
	}
	// It waits ten seconds for an API server that is already gone.
	return until(ctx, func() error { return controllermanager.Run(ctx, setup.Complete()) })
}

func runScheduler(ctx context.Context, c *config.Config, store *datastore) error {
	schedulerOptions := scheduleroptions.NewOptions()
	settings := map[string]string{
		"kubeconfig":   c.Path("server", "cred", "scheduler.kubeconfig"),
		"leader-elect": "false",
		"profiling":    "false",
		"secure-port":  "0",
	}
	if store.shared {
		settings["leader-elect"] = "true"
	}
	if err := parse("kube-scheduler", joined("kube-scheduler", *schedulerOptions.Flags), settings, c.SchedulerArgs); err != nil {
		return err
	}
	setup, instance, err := scheduler.Setup(ctx, schedulerOptions)
	if err != nil {
		return fault.Wrap(fault.CodeConfigInvalid, err, "the scheduler could not be set up", "check kube-scheduler-arg in the configuration")
	}
	return scheduler.Run(ctx, setup, instance)
}
