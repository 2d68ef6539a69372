// Package manifests applies what lies in server/manifests, at the start and
// whenever a file changes, by server-side apply.
package manifests

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"
	"sigs.k8s.io/yaml"
)

const (
	fieldManager = "k3s-manifests"
	// settle collects the several events that saving one file makes.
	settle = 300 * time.Millisecond
	// retry is how long a file waits that could not be applied, for instance
	// because the CRD that it needs is still being established.
	retry = 3 * time.Second
)

// Applier applies a folder.
type Applier struct {
	folder  string
	dynamic dynamic.Interface
	mapper  *restmapper.DeferredDiscoveryRESTMapper
	applied map[string][sha256.Size]byte
	log     func(format string, arguments ...any)
}

// New makes an applier for a folder.
func New(folder string, config *rest.Config, log func(format string, arguments ...any)) (*Applier, error) {
	config = rest.CopyConfig(config)
	config.ContentType = "application/json"
	config.AcceptContentTypes = "application/json"
	config.QPS, config.Burst = 50, 100
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	discoveryClient, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Applier{
		folder: folder, dynamic: dynamicClient, log: log,
		mapper:  restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(discoveryClient)),
		applied: map[string][sha256.Size]byte{},
	}, nil
}

// Run applies the folder and then follows its changes until the context ends.
// The first round is reported to ready.
func (a *Applier) Run(ctx context.Context, ready func()) error {
	if err := os.MkdirAll(a.folder, 0o700); err != nil {
		return err
	}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		return err
	}
	defer watcher.Close()
	if err := watcher.Add(a.folder); err != nil {
		return err
	}
	pending := !a.round(ctx)
	ready()
	timer := time.NewTimer(retry)
	if !pending {
		timer.Stop()
	}
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-watcher.Errors:
			a.log("watching %s: %v", a.folder, err)
			timer.Reset(settle)
		case event := <-watcher.Events:
			if isManifest(event.Name) {
				timer.Reset(settle)
			}
		case <-timer.C:
			if !a.round(ctx) {
				timer.Reset(retry)
			}
		}
	}
}

func isManifest(path string) bool {
	name := filepath.Base(path)
	if strings.HasPrefix(name, ".") {
		return false
	}
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// round applies every changed file; false means that some must be tried again.
func (a *Applier) round(ctx context.Context) bool {
	entries, err := os.ReadDir(a.folder)
	if err != nil {
		a.log("reading %s: %v", a.folder, err)
		return false
	}
	whole := true
	for _, entry := range entries {
		path := filepath.Join(a.folder, entry.Name())
		if entry.IsDir() || !isManifest(path) {
			continue
		}
		// K3s's way to hold a file back.
		if _, err := os.Stat(path + ".skip"); err == nil {
			continue
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			a.log("reading %s: %v", path, err)
			whole = false
			continue
		}
		sum := sha256.Sum256(raw)
		if a.applied[path] == sum {
			continue
		}
		if err := a.Apply(ctx, raw); err != nil {
			a.log("applying %s: %v", path, err)
			// A broken file is not tried again before it changes.
			if errors.Is(err, errMalformed) {
				a.applied[path] = sum
				continue
			}
			whole = false
			continue
		}
		a.applied[path] = sum
	}
	return whole
}

var errMalformed = errors.New("not a manifest")

// Parse splits a file into objects, namespaces and definitions first.
func Parse(raw []byte) ([]*unstructured.Unstructured, error) {
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(raw)))
	objects := []*unstructured.Unstructured{}
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %v", errMalformed, err)
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return nil, fmt.Errorf("%w: %v", errMalformed, err)
		}
		if len(object.Object) == 0 {
			continue
		}
		if object.GetKind() == "" || object.GetAPIVersion() == "" {
			return nil, fmt.Errorf("%w: a document without kind or apiVersion", errMalformed)
		}
		if object.IsList() {
			list, err := object.ToList()
			if err != nil {
				return nil, fmt.Errorf("%w: %v", errMalformed, err)
			}
			for i := range list.Items {
				objects = append(objects, &list.Items[i])
			}
			continue
		}
		if object.GetName() == "" {
			return nil, fmt.Errorf("%w: a %s without a name", errMalformed, object.GetKind())
		}
		objects = append(objects, object)
	}
	rank := func(o *unstructured.Unstructured) int {
		switch o.GetKind() {
		case "Namespace", "CustomResourceDefinition":
			return 0
		}
		return 1
	}
	sort.SliceStable(objects, func(i, j int) bool { return rank(objects[i]) < rank(objects[j]) })
	return objects, nil
}

// Apply applies the objects of one file.
func (a *Applier) Apply(ctx context.Context, raw []byte) error {
	objects, err := Parse(raw)
	if err != nil {
		return err
	}
	for _, object := range objects {
		resource, err := a.resource(object)
		if err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
		body, err := object.MarshalJSON()
		if err != nil {
			return err
		}
		force := true
		if _, err := resource.Patch(ctx, object.GetName(), types.ApplyPatchType, body, metav1.PatchOptions{FieldManager: fieldManager, Force: &force}); err != nil {
			return fmt.Errorf("%s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// Delete removes the objects of a file, the last first.
func (a *Applier) Delete(ctx context.Context, raw []byte) error {
	objects, err := Parse(raw)
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	for i := len(objects) - 1; i >= 0; i-- {
		resource, err := a.resource(objects[i])
		if meta.IsNoMatchError(err) {
			continue
		}
		if err != nil {
			return err
		}
		err = resource.Delete(ctx, objects[i].GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
		if err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

func (a *Applier) resource(object *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := object.GroupVersionKind()
	mapping, err := a.mapper.RESTMapping(schema.GroupKind{Group: kind.Group, Kind: kind.Kind}, kind.Version)
	if meta.IsNoMatchError(err) {
		a.mapper.Reset()
		mapping, err = a.mapper.RESTMapping(schema.GroupKind{Group: kind.Group, Kind: kind.Kind}, kind.Version)
	}
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() != meta.RESTScopeNameNamespace {
		return a.dynamic.Resource(mapping.Resource), nil
	}
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = metav1.NamespaceDefault
	}
	return a.dynamic.Resource(mapping.Resource).Namespace(namespace), nil
}
