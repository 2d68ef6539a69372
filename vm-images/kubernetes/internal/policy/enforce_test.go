package policy

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"alcove/kubernetes/internal/namespaces"
)

// enforce runs until the test ends. The channels carry what was reported, and
// are closed when the policies are said to be in force.
func enforce(t *testing.T) (reported <-chan error, inForce <-chan struct{}) {
	t.Helper()
	client := fake.NewClientset(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		pod("shop", "web", "10.42.0.2", "one", nil),
		policyOf("silent", networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}}),
	)
	reports, said := make(chan error, 16), make(chan struct{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		Enforce(ctx, "one", "10.42.0.0/16", informers.NewSharedInformerFactory(client, 0), func(err error) { reports <- err }, func() { close(said) })
	}()
	t.Cleanup(func() { cancel(); <-ended })
	return reports, said
}

func TestPoliciesAreInForceWhenThatIsSaid(t *testing.T) {
	if !namespaces.Own(t) {
		return
	}
	reported, inForce := enforce(t)
	select {
	case <-inForce:
	case err := <-reported:
		t.Fatal(err)
	case <-time.After(time.Minute):
		t.Fatal("it is never said")
	}
	rules, err := exec.Command("nft", "list", "table", "ip", Table).CombinedOutput()
	if err != nil || !strings.Contains(string(rules), "10.42.0.2 : jump") {
		t.Fatal(string(rules), err)
	}
}

func TestPoliciesThatCouldNotBeLaidAreNotInForce(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	reported, inForce := enforce(t)
	select {
	case <-inForce:
		t.Fatal("there is no nft")
	case <-reported:
	case <-time.After(time.Minute):
		t.Fatal("nothing is reported")
	}
	select {
	case <-inForce:
		t.Fatal("there is no nft")
	default:
	}
}
