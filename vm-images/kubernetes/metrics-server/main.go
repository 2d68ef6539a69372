// Command metrics-server is metrics-server, put together from its own parts so
// that it is ready soon after its start, which an emulated processor feels:
//
//   - Upstream makes four RSA keys at each start, for certificates that nobody
//     verifies. Here one elliptic key serves for both.
//   - A figure needs two readings of a node. Upstream takes the second one a
//     whole resolution after the first; here it follows as soon as the node
//     has something new to say.
package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/pflag"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/rest"
	cliflag "k8s.io/component-base/cli/flag"
	"k8s.io/component-base/logs"
	"k8s.io/component-base/metrics"
	"k8s.io/component-base/metrics/legacyregistry"

	"sigs.k8s.io/metrics-server/cmd/metrics-server/app/options"
	"sigs.k8s.io/metrics-server/pkg/api"
	"sigs.k8s.io/metrics-server/pkg/scraper"
	"sigs.k8s.io/metrics-server/pkg/scraper/client/resource"
	"sigs.k8s.io/metrics-server/pkg/server"
	"sigs.k8s.io/metrics-server/pkg/storage"
)

// stopGrace is how long answers under way may take after it was asked to end.
const stopGrace = 2 * time.Second

func main() {
	logs.InitLogs()
	defer logs.FlushLogs()
	err := until(genericapiserver.SetupSignalHandler(), stopGrace, func(stop <-chan struct{}) error { return run(os.Args[1:], stop) })
	if err != nil {
		fmt.Fprintln(os.Stderr, "metrics-server:", err)
		logs.FlushLogs()
		os.Exit(1)
	}
}

// until ends soon after stop whatever run does: while it starts it asks the
// API server, again and again if need be, and when the machine shuts down that
// one is gone. There is nothing here that would have to be written down.
func until(stop <-chan struct{}, grace time.Duration, run func(stop <-chan struct{}) error) error {
	ended := make(chan error, 1)
	go func() { ended <- run(stop) }()
	select {
	case err := <-ended:
		return err
	case <-stop:
	}
	select {
	case err := <-ended:
		return err
	case <-time.After(grace):
		return nil
	}
}

func run(arguments []string, stop <-chan struct{}) error {
	o := options.NewOptions()
	flags := pflag.NewFlagSet("metrics-server", pflag.ContinueOnError)
	flags.SetNormalizeFunc(cliflag.WordSepNormalizeFunc)
	for _, named := range o.Flags().FlagSets {
		flags.AddFlagSet(named)
	}
	if err := flags.Parse(arguments); err != nil {
		return err
	}
	if errs := o.Validate(); len(errs) > 0 {
		return errs[0]
	}
	config, err := settings(o)
	if err != nil {
		return err
	}
	built, err := build(config)
	if err != nil {
		return err
	}
	return built.RunUntil(stop)
}

// settings are upstream's, but for the certificates: those are taken out while
// upstream would make its own, and then put in with what depends on them.
func settings(o *options.Options) (*server.Config, error) {
	serving := o.SecureServing.SecureServingOptions
	o.SecureServing.SecureServingOptions = nil
	o.DisableAuthForTesting = true // it is set up below, and always
	config, err := o.ServerConfig()
	if err != nil {
		return nil, err
	}
	certificate, key, err := selfSigned("localhost", genericapiserver.LoopbackClientServerNameOverride)
	if err != nil {
		return nil, fmt.Errorf("the certificate can't be made: %w", err)
	}
	// A certificate that the owner gives by flags goes before this one.
	if serving.ServerCert.GeneratedCert, err = dynamiccertificates.NewStaticCertKeyContent("self-signed", certificate, key); err != nil {
		return nil, err
	}
	apiserver := config.Apiserver
	if err := serving.ApplyTo(&apiserver.SecureServing); err != nil {
		return nil, err
	}
	loopback, err := dynamiccertificates.NewStaticSNICertKeyContent("self-signed loopback", certificate, key, genericapiserver.LoopbackClientServerNameOverride)
	if err != nil {
		return nil, err
	}
	apiserver.SecureServing.SNICerts = append([]dynamiccertificates.SNICertKeyContentProvider{loopback}, apiserver.SecureServing.SNICerts...)
	if apiserver.LoopbackClientConfig, err = apiserver.SecureServing.NewLoopbackClientConfig(uuid.NewString(), certificate); err != nil {
		return nil, err
	}
	if err := o.Authentication.ApplyTo(&apiserver.Authentication, apiserver.SecureServing, nil); err != nil {
		return nil, err
	}
	if err := o.Authorization.ApplyTo(&apiserver.Authorization); err != nil {
		return nil, err
	}
	return config, nil
}

// runner is a server that is ready to run: upstream's type has no name outside.
type runner interface {
	RunUntil(stop <-chan struct{}) error
}

// build is upstream's Config.Complete with the eager scraper in its place.
func build(config *server.Config) (runner, error) {
	pods, err := runningPods(config.Rest)
	if err != nil {
		return nil, err
	}
	podInformer := pods.ForResource(corev1.SchemeGroupVersion.WithResource("pods"))
	client, err := kubernetes.NewForConfig(config.Rest)
	if err != nil {
		return nil, err
	}
	var selected []labels.Requirement
	if text := strings.TrimSpace(config.NodeSelector); text != "" {
		if selected, err = labels.ParseToRequirements(text); err != nil {
			return nil, err
		}
	}
	nodes := informers.NewSharedInformerFactory(client, 0).Core().V1().Nodes()
	kubelet, err := resource.NewForConfig(config.Kubelet)
	if err != nil {
		return nil, fmt.Errorf("the kubelets' client can't be made: %w", err)
	}
	registry := metrics.NewKubeRegistry()
	if err := server.RegisterMetrics(registry, config.MetricResolution); err != nil {
		return nil, err
	}
	config.Apiserver.EnableMetrics = false
	generic, err := config.Apiserver.Complete(nil).New("metrics-server", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, err
	}
	generic.Handler.NonGoRestfulMux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		legacyregistry.Handler().ServeHTTP(w, r)
		metrics.HandlerFor(registry, metrics.HandlerOpts{}).ServeHTTP(w, r)
	})
	store := storage.NewStorage(config.MetricResolution)
	if err := api.Install(store, podInformer.Lister(), nodes.Lister(), generic, selected); err != nil {
		return nil, err
	}
	scrape := &eager{
		inner: scraper.NewScraper(nodes.Lister(), kubelet, config.ScrapeTimeout, selected), store: store, every: secondReading,
	}
	built := server.NewServer(nodes.Informer(), podInformer.Informer(), generic, store, scrape, config.MetricResolution)
	return built, built.RegisterProbes(pods)
}

func runningPods(config *rest.Config) (metadatainformer.SharedInformerFactory, error) {
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	return metadatainformer.NewFilteredSharedInformerFactory(client, 0, corev1.NamespaceAll, func(options *metav1.ListOptions) {
		options.FieldSelector = "status.phase=Running"
	}), nil
}
