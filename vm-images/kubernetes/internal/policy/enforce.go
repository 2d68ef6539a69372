package policy

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"alcove/kubernetes/internal/bell"
)

// settle collects the changes of one moment into one transaction.
const settle = 50 * time.Millisecond

// Trim keeps of a watched object only what policies look at, so that a large
// cluster costs little memory on every node.
func Trim(object any) (any, error) {
	switch typed := object.(type) {
	case *corev1.Pod:
		trimmed := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: typed.Name, Namespace: typed.Namespace, UID: typed.UID, Labels: typed.Labels, ResourceVersion: typed.ResourceVersion},
			Spec:       corev1.PodSpec{NodeName: typed.Spec.NodeName, HostNetwork: typed.Spec.HostNetwork},
			Status:     corev1.PodStatus{Phase: typed.Status.Phase, PodIP: typed.Status.PodIP},
		}
		for _, container := range typed.Spec.Containers {
			if len(container.Ports) > 0 {
				trimmed.Spec.Containers = append(trimmed.Spec.Containers, corev1.Container{Ports: container.Ports})
			}
		}
		return trimmed, nil
	case metav1.Object:
		typed.SetManagedFields(nil)
	}
	return object, nil
}

// Enforce follows pods, namespaces and policies until the context ends. It
// says once when what they ask for is in force for the first time.
func Enforce(ctx context.Context, node, podNetwork string, factory informers.SharedInformerFactory, report func(error), inForce func()) error {
	pods := factory.Core().V1().Pods()
	namespaces := factory.Core().V1().Namespaces()
	policies := factory.Networking().V1().NetworkPolicies()
	changed := bell.New()
	handler := changed.Changes()
	handler.UpdateFunc = func(before, after any) {
		if relevant(before, after) {
			changed.Ring()
		}
	}
	synced := []cache.InformerSynced{}
	for _, informer := range []cache.SharedIndexInformer{pods.Informer(), namespaces.Informer(), policies.Informer()} {
		if _, err := informer.AddEventHandler(handler); err != nil {
			return err
		}
		synced = append(synced, informer.HasSynced)
	}
	factory.Start(ctx.Done())
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil
	}
	changed.Ring()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(settle):
		}
		cluster := Cluster{Node: node, PodNetwork: podNetwork, Namespaces: map[string]labels.Set{}}
		var err error
		if cluster.Pods, err = pods.Lister().List(labels.Everything()); err != nil {
			return err
		}
		if cluster.Policies, err = policies.Lister().List(labels.Everything()); err != nil {
			return err
		}
		all, err := namespaces.Lister().List(labels.Everything())
		if err != nil {
			return err
		}
		for _, namespace := range all {
			cluster.Namespaces[namespace.Name] = namespace.Labels
		}
		rules, err := Render(cluster)
		if err != nil {
			report(err)
			continue
		}
		if rules == last {
			continue
		}
		if err := apply(ctx, rules); err != nil {
			report(err)
			// The old rules stay in force; try again with the next change or
			// after a while, whichever comes first.
			changed.RingAfter(5 * time.Second)
			continue
		}
		if last == "" {
			inForce()
		}
		last = rules
	}
}

// relevant leaves out what happens to pods all the time, such as conditions.
func relevant(before, after any) bool {
	old, ok := before.(*corev1.Pod)
	if !ok {
		return true
	}
	pod, ok := after.(*corev1.Pod)
	if !ok {
		return true
	}
	return old.Status.PodIP != pod.Status.PodIP || old.Status.Phase != pod.Status.Phase || old.Spec.NodeName != pod.Spec.NodeName ||
		!labels.Equals(old.Labels, pod.Labels)
}

func apply(ctx context.Context, rules string) error {
	command := exec.CommandContext(ctx, "nft", "-f", "-")
	command.Stdin = strings.NewReader(rules)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, strings.TrimSpace(string(output)))
	}
	return nil
}
