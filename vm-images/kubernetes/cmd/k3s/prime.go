package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/types"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/client-go/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	schedulinginternal "k8s.io/kubernetes/pkg/apis/scheduling/v1"
	rbacrest "k8s.io/kubernetes/pkg/registry/rbac/rest"
	"k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac/bootstrappolicy"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/pki"
	"alcove/kubernetes/internal/release"
)

// A new API server writes its default roles one request and one disk flush
// after the other: some 150 of them, which is most of a first start. Here they
// are written into the empty store in one transaction, before the API server
// opens it, from the same list that the API server itself would use.

// rolesHook is the API server's own way, which then only checks.
const rolesHook = rbacrest.PostStartHookName

func rolesMarker(c *config.Config) string { return c.Path("server", "db", "roles-of") }

func rolesPolicy() *rbacrest.PolicyData {
	return &rbacrest.PolicyData{
		ClusterRoles:               append(bootstrappolicy.ClusterRoles(), bootstrappolicy.ControllerRoles()...),
		ClusterRoleBindings:        append(bootstrappolicy.ClusterRoleBindings(), bootstrappolicy.ControllerRoleBindings()...),
		Roles:                      bootstrappolicy.NamespaceRoles(),
		RoleBindings:               bootstrappolicy.NamespaceRoleBindings(),
		ClusterRolesToAggregate:    bootstrappolicy.ClusterRolesToAggregate(),
		ClusterRoleBindingsToSplit: bootstrappolicy.ClusterRoleBindingsToSplit(),
	}
}

// rolesCurrent says whether the store has this release's default roles, so
// that checking them can wait until the node is up.
func rolesCurrent(c *config.Config) bool {
	raw, err := os.ReadFile(rolesMarker(c))
	return err == nil && strings.TrimSpace(string(raw)) == release.Version
}

// primed is one object as the store keeps it.
type primed struct {
	key   string
	value []byte
}

func primedObjects(now time.Time) ([]primed, error) {
	serializer := protobuf.NewSerializer(legacyscheme.Scheme, legacyscheme.Scheme)
	objects := []primed{}
	var failure error
	add := func(version schema.GroupVersion, key string, meta *metav1.ObjectMeta, object runtime.Object) {
		meta.UID = types.UID(uuid.NewString())
		meta.CreationTimestamp = metav1.NewTime(now)
		raw, err := runtime.Encode(legacyscheme.Codecs.EncoderForVersion(serializer, version), object)
		if err != nil && failure == nil {
			failure = fmt.Errorf("%s: %w", key, err)
		}
		objects = append(objects, primed{"/registry/" + key, raw})
	}
	for _, name := range []string{metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease} {
		namespace := &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}},
			Spec:       corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{corev1.FinalizerKubernetes}},
			Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
		}
		add(corev1.SchemeGroupVersion, "namespaces/"+name, &namespace.ObjectMeta, namespace)
	}
	for _, class := range schedulinginternal.SystemPriorityClasses() {
		copied := class.DeepCopy()
		copied.Generation = 1
		add(schedulingv1.SchemeGroupVersion, "priorityclasses/"+copied.Name, &copied.ObjectMeta, copied)
	}
	policy := rolesPolicy()
	version := rbacv1.SchemeGroupVersion
	for i := range policy.ClusterRoles {
		role := &policy.ClusterRoles[i]
		add(version, "clusterroles/"+role.Name, &role.ObjectMeta, role)
	}
	for i := range policy.ClusterRoleBindings {
		binding := &policy.ClusterRoleBindings[i]
		add(version, "clusterrolebindings/"+binding.Name, &binding.ObjectMeta, binding)
	}
	for namespace, roles := range policy.Roles {
		for i := range roles {
			roles[i].Namespace = namespace
			add(version, "roles/"+namespace+"/"+roles[i].Name, &roles[i].ObjectMeta, &roles[i])
		}
	}
	for namespace, bindings := range policy.RoleBindings {
		for i := range bindings {
			bindings[i].Namespace = namespace
			add(version, "rolebindings/"+namespace+"/"+bindings[i].Name, &bindings[i].ObjectMeta, &bindings[i])
		}
	}
	return objects, failure
}

// primeStore fills an empty store; a store that has anything in it is left
// alone. kine has made the table by then.
func primeStore(ctx context.Context, c *config.Config, file string) error {
	database, err := sql.Open("sqlite3", file+"?_busy_timeout=30000&_synchronous=FULL&_journal_mode=WAL")
	if err != nil {
		return err
	}
	defer database.Close()
	var rows int
	if err := database.QueryRowContext(ctx, "SELECT COUNT(*) FROM kine").Scan(&rows); err != nil || rows > 0 {
		return err
	}
	objects, err := primedObjects(time.Now().UTC().Truncate(time.Second))
	if err != nil {
		return err
	}
	transaction, err := database.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer transaction.Rollback()
	insert, err := transaction.PrepareContext(ctx,
		"INSERT INTO kine(name, created, deleted, create_revision, prev_revision, lease, value, old_value) VALUES (?, 1, 0, 0, 0, 0, ?, NULL)")
	if err != nil {
		return err
	}
	defer insert.Close()
	for _, object := range objects {
		if _, err := insert.ExecContext(ctx, object.key, object.value); err != nil {
			return err
		}
	}
	if err := transaction.Commit(); err != nil {
		return err
	}
	return pki.WriteDurable(rolesMarker(c), []byte(release.Version+"\n"), 0o600)
}

// checkRoles lets the API server's own code compare the default roles with
// the store, after the start: an owner may have changed one.
func checkRoles(ctx context.Context, loopback *rest.Config) error {
	// It tries for half a minute.
	return until(ctx, func() error {
		return rolesPolicy().EnsureRBACPolicy()(genericapiserver.PostStartHookContext{LoopbackClientConfig: loopback, Context: ctx})
	})
}
