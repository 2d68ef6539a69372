package main

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/rest"
	logsapi "k8s.io/component-base/logs/api/v1"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/sqlite"
)

// featureGates of the one process. The API server's identity lease and its
// followers coordinate several API servers; here there is one, and each would
// write to the disk all day.
const featureGates = "APIServerIdentity=false,StorageVersionAPI=false,UnknownVersionInteroperabilityProxy=false"

// unwatchedResources are rarely read: without a cache of their own each saves
// a few goroutines, a watch on the store and the memory of both.
var unwatchedResources = []string{
	"limitranges", "podtemplates", "controllerrevisions",
	"csidrivers.storage.k8s.io", "csistoragecapacities.storage.k8s.io", "volumeattachments.storage.k8s.io",
	"horizontalpodautoscalers.autoscaling",
	"certificatesigningrequests.certificates.k8s.io",
	"ingressclasses.networking.k8s.io", "runtimeclasses.node.k8s.io",
	"flowschemas.flowcontrol.apiserver.k8s.io", "prioritylevelconfigurations.flowcontrol.apiserver.k8s.io",
}

func apiserverSettings(c *config.Config, store *datastore) map[string]string {
	tls := func(name string) string { return c.Path("server", "tls", name) }
	settings := map[string]string{
		"allow-privileged":                   "true",
		"anonymous-auth":                     "false",
		"api-audiences":                      "https://kubernetes.default.svc." + c.ClusterDomain + ",k3s",
		"authorization-mode":                 "Node,RBAC",
		"bind-address":                       c.BindAddress,
		"client-ca-file":                     tls("client-ca.crt"),
		"enable-admission-plugins":           "NodeRestriction",
		"enable-aggregator-routing":          "true",
		"enable-priority-and-fairness":       "false",
		"etcd-compaction-interval":           "0",
		"etcd-count-metric-poll-period":      "0",
		"etcd-db-metric-poll-interval":       "0",
		"etcd-servers":                       strings.Join(store.endpoints, ","),
		"feature-gates":                      featureGates,
		"kubelet-certificate-authority":      tls("server-ca.crt"),
		"kubelet-client-certificate":         tls("client-kube-apiserver.crt"),
		"kubelet-client-key":                 tls("client-kube-apiserver.key"),
		"kubelet-preferred-address-types":    "InternalIP,ExternalIP,Hostname",
		"profiling":                          "false",
		"proxy-client-cert-file":             tls("client-auth-proxy.crt"),
		"proxy-client-key-file":              tls("client-auth-proxy.key"),
		"requestheader-allowed-names":        "system:auth-proxy",
		"requestheader-client-ca-file":       tls("request-header-ca.crt"),
		"requestheader-extra-headers-prefix": "X-Remote-Extra-",
		"requestheader-group-headers":        "X-Remote-Group",
		"requestheader-username-headers":     "X-Remote-User",
		"secure-port":                        strconv.Itoa(c.Port),
		"service-account-issuer":             "https://kubernetes.default.svc." + c.ClusterDomain,
		"service-account-key-file":           tls("service.key"),
		"service-account-signing-key-file":   tls("service.key"),
		"service-cluster-ip-range":           c.ServiceCIDR,
		"service-node-port-range":            c.NodePortRange,
		"storage-backend":                    "etcd3",
		"tls-cert-file":                      tls("serving-kube-apiserver.crt"),
		"tls-private-key-file":               tls("serving-kube-apiserver.key"),
		"watch-cache-sizes":                  strings.Join(unwatchedResources, "#0,") + "#0",
	}
	if c.Advertise != "" {
		settings["advertise-address"] = c.Advertise
	}
	if store.shared {
		for name, value := range map[string]string{"etcd-cafile": store.ca, "etcd-certfile": store.cert, "etcd-keyfile": store.key} {
			if value != "" {
				settings[name] = value
			}
		}
		// With other servers about, each has to notice when one is gone.
		settings["endpoint-reconciler-type"] = "lease"
		settings["etcd-compaction-interval"] = sqlite.CompactInterval.String()
	} else {
		// The lease reconciler writes to the disk every few seconds, and a
		// machine that was suspended would wake up with its lease expired.
		settings["endpoint-reconciler-type"] = "master-count"
	}
	return settings
}

// How long connections may stay open after the last request was answered, which
// is waited for by itself. A watch never ends on its own, so upstream's minute
// would always be used up.
const watchesGrace = time.Second

// preparedAPI is an API server that is built and not yet running.
type preparedAPI struct {
	run      func(context.Context) error
	loopback *rest.Config
}

// wrapHandler puts another handler before the API's own authentication.
type wrapHandler func(http.Handler) http.Handler

func prepareAPIServer(ctx context.Context, c *config.Config, store *datastore, wrap wrapHandler) (*preparedAPI, error) {
	failed := func(err error) error {
		return fault.Wrap(fault.CodeAPIServer, err, "the API server could not be set up", "check kube-apiserver-arg in the configuration")
	}
	serverOptions := options.NewServerRunOptions()
	if err := parse("kube-apiserver", joined("kube-apiserver", serverOptions.Flags()), apiserverSettings(c, store), c.APIServerArgs); err != nil {
		return nil, err
	}
	if err := serverOptions.GenericServerRunOptions.ComponentGlobalsRegistry.Set(); err != nil {
		return nil, failed(err)
	}
	rest.SetDefaultWarningHandler(rest.NoWarnings{})
	serverOptions.Logs.Verbosity = logsapi.VerbosityLevel(max(uint32(serverOptions.Logs.Verbosity), uint32(c.Verbosity)))
	if err := logsapi.ValidateAndApply(serverOptions.Logs, utilfeature.DefaultFeatureGate); err != nil {
		return nil, failed(err)
	}
	completed, err := serverOptions.Complete(ctx)
	if err != nil {
		return nil, failed(err)
	}
	if errs := completed.Validate(); len(errs) != 0 {
		return nil, failed(errs[0])
	}
	setup, err := newAPIConfig(completed)
	if err != nil {
		return nil, failed(err)
	}
	disabled := setup.KubeAPIs.ControlPlane.Generic.DisabledPostStartHooks
	// Its objects steer a fair queue that is switched off.
	disabled.Insert("priority-and-fairness-config-producer")
	if !store.shared && rolesCurrent(c) {
		disabled.Insert(rolesHook)
	}
	if wrap != nil {
		inner := setup.Aggregator.GenericConfig.BuildHandlerChainFunc
		setup.Aggregator.GenericConfig.BuildHandlerChainFunc = func(handler http.Handler, generic *genericapiserver.Config) http.Handler {
			return wrap(inner(handler, generic))
		}
	}
	loopback := setup.KubeAPIs.ControlPlane.Generic.LoopbackClientConfig
	ready, err := setup.Complete()
	if err != nil {
		return nil, failed(err)
	}
	chain, err := apiserver.CreateServerChain(ready)
	if err != nil {
		return nil, failed(err)
	}
	chain.GenericAPIServer.ShutdownTimeout = watchesGrace
	prepared, err := chain.PrepareRun()
	if err != nil {
		return nil, failed(err)
	}
	return &preparedAPI{
		run:      func(ctx context.Context) error { return prepared.Run(ctx) },
		loopback: rest.CopyConfig(loopback),
	}, nil
}

// waitFor asks a health endpoint until it says ok.
func (p *preparedAPI) waitFor(ctx context.Context, path string) error {
	client, err := rest.HTTPClientFor(p.loopback)
	if err != nil {
		return err
	}
	return wait.PollUntilContextCancel(ctx, readyPoll, true, func(ctx context.Context) (bool, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.loopback.Host+path, nil)
		if err != nil {
			return false, err
		}
		response, err := client.Do(request)
		if err != nil {
			return false, nil
		}
		response.Body.Close()
		return response.StatusCode == http.StatusOK, nil
	})
}
