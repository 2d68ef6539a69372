package main

import (
	"fmt"
	"time"

	"github.com/google/uuid"
	noopoteltrace "go.opentelemetry.io/otel/trace/noop"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/endpoints/discovery/aggregated"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericfeatures "k8s.io/apiserver/pkg/features"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/apiserver/pkg/server/filters"
	serverstorage "k8s.io/apiserver/pkg/server/storage"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/apiserver/pkg/util/openapi"
	"k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	aggregatorscheme "k8s.io/kube-aggregator/pkg/apiserver/scheme"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	"k8s.io/kubernetes/cmd/kube-apiserver/app/options"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/controlplane"
	controlplaneapiserver "k8s.io/kubernetes/pkg/controlplane/apiserver"
	generatedopenapi "k8s.io/kubernetes/pkg/generated/openapi"
	"k8s.io/kubernetes/pkg/kubeapiserver"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"

	"alcove/kubernetes/internal/pki"
)

// The API server talks to itself over TLS, and upstream makes two RSA keys for
// that at every start: seconds of an emulated processor, in the middle of the
// boot. Nothing in upstream's way of building its configuration takes a key
// from outside, so this file goes the same way (apiserver.NewConfig and
// controlplane/apiserver.BuildGenericConfig) with an elliptic key in place.
// TestUpstreamIsAsItWasWhenThisWasWritten tells when upstream's has changed.

// informerResync is upstream's own.
const informerResync = 10 * time.Minute

func newAPIConfig(opts options.CompletedOptions) (*apiserver.Config, error) {
	generic, watched, storage, err := genericConfig(opts)
	if err != nil {
		return nil, err
	}
	kube, resolver, initializers, err := apiserver.CreateKubeAPIServerConfig(opts, generic, watched, storage)
	if err != nil {
		return nil, err
	}
	plane := kube.ControlPlane
	extensions, err := controlplaneapiserver.CreateAPIExtensionsConfig(*plane.Generic, plane.VersionedInformers, initializers, opts.CompletedOptions, opts.MasterCount,
		resolver, webhook.NewDefaultAuthenticationInfoResolverWrapper(plane.ProxyTransport, plane.Generic.EgressSelector, plane.Generic.LoopbackClientConfig, plane.Generic.TracerProvider))
	if err != nil {
		return nil, err
	}
	aggregator, err := controlplaneapiserver.CreateAggregatorConfig(*plane.Generic, opts.CompletedOptions, plane.VersionedInformers, resolver, plane.ProxyTransport, plane.Extra.PeerProxy, initializers)
	if err != nil {
		return nil, err
	}
	return &apiserver.Config{Options: opts, KubeAPIs: kube, ApiExtensions: extensions, Aggregator: aggregator}, nil
}

// serveLoopback opens the API's port and makes the client by which the API
// server reaches itself.
func serveLoopback(opts options.CompletedOptions, config *genericapiserver.Config) error {
	if err := opts.SecureServing.SecureServingOptions.ApplyTo(&config.SecureServing); err != nil {
		return err
	}
	name := genericapiserver.LoopbackClientServerNameOverride
	certificate, key, err := pki.SelfSigned(name)
	if err != nil {
		return fmt.Errorf("the loopback certificate can't be made: %w", err)
	}
	provider, err := dynamiccertificates.NewStaticSNICertKeyContent("self-signed loopback", certificate, key, name)
	if err != nil {
		return err
	}
	// In front, so that no other certificate of that name is taken.
	config.SecureServing.SNICerts = append([]dynamiccertificates.SNICertKeyContentProvider{provider}, config.SecureServing.SNICerts...)
	if config.LoopbackClientConfig, err = config.SecureServing.NewLoopbackClientConfig(uuid.NewString(), certificate); err != nil {
		return err
	}
	config.LoopbackClientConfig.ContentConfig.ContentType = "application/vnd.kubernetes.protobuf"
	config.LoopbackClientConfig.DisableCompression = true
	return nil
}

func genericConfig(opts options.CompletedOptions) (*genericapiserver.Config, informers.SharedInformerFactory, *serverstorage.DefaultStorageFactory, error) {
	failed := func(err error) (*genericapiserver.Config, informers.SharedInformerFactory, *serverstorage.DefaultStorageFactory, error) {
		return nil, nil, nil, err
	}
	resources := controlplane.DefaultAPIResourceConfigSource()
	config := genericapiserver.NewConfig(legacyscheme.Codecs)
	config.Flagz = opts.Flagz
	config.MergedResourceConfig = resources
	if err := opts.GenericServerRunOptions.ApplyTo(config); err != nil {
		return failed(err)
	}
	if err := serveLoopback(opts, config); err != nil {
		return failed(err)
	}
	client, err := kubernetes.NewForConfig(config.LoopbackClientConfig)
	if err != nil {
		return failed(err)
	}
	watched := informers.NewSharedInformerFactoryWithOptions(client, informerResync, informers.WithTransform(withoutManagedFields))
	if err := opts.Features.ApplyTo(config, client, watched); err != nil {
		return failed(err)
	}
	if err := opts.APIEnablement.ApplyTo(config, resources, legacyscheme.Scheme); err != nil {
		return failed(err)
	}
	if err := opts.EgressSelector.ApplyTo(config); err != nil {
		return failed(err)
	}
	traced := utilfeature.DefaultFeatureGate.Enabled(genericfeatures.APIServerTracing)
	if traced {
		if err := opts.Traces.ApplyTo(config.EgressSelector, config); err != nil {
			return failed(err)
		}
	}
	describeAPI(config)
	config.LongRunningFunc = filters.BasicLongRunningRequestCheck(
		sets.NewString("watch", "proxy"), sets.NewString("attach", "exec", "proxy", "log", "portforward"))

	transport := &opts.Etcd.StorageConfig.Transport
	if config.EgressSelector != nil {
		transport.EgressLookup = config.EgressSelector.Lookup
	}
	transport.TracerProvider = noopoteltrace.NewTracerProvider()
	if traced {
		transport.TracerProvider = config.TracerProvider
	}
	factory := kubeapiserver.NewStorageFactoryConfigEffectiveVersion(config.EffectiveVersion)
	factory.APIResourceConfig = config.MergedResourceConfig
	factory.DefaultResourceEncoding.SetEffectiveVersion(config.EffectiveVersion)
	storage, err := factory.Complete(opts.Etcd).New()
	if err != nil {
		return failed(err)
	}
	storage.StorageConfig.StorageObjectCountTracker = config.StorageObjectCountTracker
	if err := opts.Etcd.ApplyWithStorageFactoryTo(storage, config); err != nil {
		return failed(err)
	}

	ctx := wait.ContextForChannel(config.DrainedNotify())
	if err := opts.Authentication.ApplyTo(ctx, &config.Authentication, config.SecureServing, config.EgressSelector, config.OpenAPIConfig, config.OpenAPIV3Config, client, watched, config.APIServerID); err != nil {
		return failed(err)
	}
	var roles bool
	config.Authorization.Authorizer, config.RuleResolver, roles, err = controlplaneapiserver.BuildAuthorizer(ctx, opts.CompletedOptions, config.EgressSelector, config.APIServerID, watched)
	if err != nil {
		return failed(fmt.Errorf("invalid authorization config: %w", err))
	}
	if opts.Authorization != nil && !roles {
		config.DisabledPostStartHooks.Insert(rbacrest.PostStartHookName)
	}
	if err := opts.Audit.ApplyTo(config); err != nil {
		return failed(err)
	}
	config.AggregatedDiscoveryGroupManager = aggregated.NewResourceManager("apis")
	return config, watched, storage, nil
}

func describeAPI(config *genericapiserver.Config) {
	definitions := openapi.GetOpenAPIDefinitionsWithoutDisabledFeatures(generatedopenapi.GetOpenAPIDefinitions)
	namer := openapinamer.NewDefinitionNamer([]*runtime.Scheme{legacyscheme.Scheme, apiextensions.Scheme, aggregatorscheme.Scheme}...)
	config.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(definitions, namer)
	config.OpenAPIConfig.Info.Title = "Kubernetes"
	config.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(definitions, namer)
	config.OpenAPIV3Config.Info.Title = "Kubernetes"
}

func withoutManagedFields(object any) (any, error) {
	if accessor, err := meta.Accessor(object); err == nil && accessor.GetManagedFields() != nil {
		accessor.SetManagedFields(nil)
	}
	return object, nil
}
