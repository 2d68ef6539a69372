package policy

import (
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(namespace, name, ip, node string, set map[string]string, ports ...corev1.ContainerPort) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: set},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Ports: ports}}},
		Status:     corev1.PodStatus{PodIP: ip, Phase: corev1.PodRunning},
	}
}

func cluster(policies ...*networkingv1.NetworkPolicy) Cluster {
	finished := pod("shop", "job", "10.42.0.9", "one", map[string]string{"app": "web"})
	finished.Status.Phase = corev1.PodSucceeded
	onHost := pod("shop", "host", "10.0.2.15", "one", map[string]string{"app": "web"})
	onHost.Spec.HostNetwork = true
	return Cluster{
		Node: "one", PodNetwork: "10.42.0.0/16",
		Pods: []*corev1.Pod{
			pod("shop", "web", "10.42.0.2", "one", map[string]string{"app": "web"}, corev1.ContainerPort{Name: "http", ContainerPort: 8080}),
			pod("shop", "db", "10.42.0.3", "one", map[string]string{"app": "db"}, corev1.ContainerPort{Name: "sql", ContainerPort: 5432}),
			pod("shop", "far", "10.42.1.3", "two", map[string]string{"app": "db"}, corev1.ContainerPort{Name: "sql", ContainerPort: 6432}),
			pod("ops", "scraper", "10.42.0.4", "one", map[string]string{"app": "prom"}),
			finished, onHost,
		},
		Namespaces: map[string]labels.Set{"shop": {"team": "a"}, "ops": {"team": "b"}},
		Policies:   policies,
	}
}

func policyOf(name string, spec networkingv1.NetworkPolicySpec) *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: spec}
}

func render(t *testing.T, policies ...*networkingv1.NetworkPolicy) string {
	t.Helper()
	rules, err := Render(cluster(policies...))
	if err != nil {
		t.Fatal(err)
	}
	// Where nft is at hand, it has the last word on the syntax.
	if nft, err := exec.LookPath("nft"); err == nil {
		command := exec.Command(nft, "--check", "-f", "-")
		command.Stdin = strings.NewReader(rules)
		if output, err := command.CombinedOutput(); err != nil && !strings.Contains(string(output), "Operation not permitted") && !strings.Contains(string(output), "Could not process rule") && !strings.Contains(string(output), "cache initialization failed") {
			t.Errorf("nft: %s\n%s", output, rules)
		}
	}
	return rules
}

func has(t *testing.T, rules string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(rules, line) {
			t.Errorf("missing %q in\n%s", line, rules)
		}
	}
}

func number(n int) *intstr.IntOrString { v := intstr.FromInt32(int32(n)); return &v }
func named(s string) *intstr.IntOrString {
	v := intstr.FromString(s)
	return &v
}

var both = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress}

func TestNoPolicyNoTable(t *testing.T) {
	if rules := render(t); rules != "add table ip alcove-policy\ndelete table ip alcove-policy\n" {
		t.Fatal(rules)
	}
}

func TestDefaultDeny(t *testing.T) {
	rules := render(t, policyOf("deny", networkingv1.NetworkPolicySpec{PolicyTypes: both}))
	has(t, rules,
		"chain in-10-42-0-2 {\n\t\tcomment \"shop/web\"\n\t\tdrop\n\t}",
		"chain out-10-42-0-3 {\n\t\tcomment \"shop/db\"\n\t\tdrop\n\t}",
		"10.42.0.3 : jump in-10-42-0-3, 10.42.0.2 : jump in-10-42-0-2 }")
	for _, other := range []string{"in-10-42-1-3", "in-10-42-0-4", "10.42.0.9", "10.0.2.15"} {
		if strings.Contains(rules, other) {
			t.Errorf("%s is isolated and should not be:\n%s", other, rules)
		}
	}
}

func TestPeersAndPorts(t *testing.T) {
	udp := corev1.ProtocolUDP
	end := int32(9010)
	rules := render(t, policyOf("web", networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
		PolicyTypes: both,
		Ingress: []networkingv1.NetworkPolicyIngressRule{
			{
				From: []networkingv1.NetworkPolicyPeer{
					{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}},
					{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
				},
				Ports: []networkingv1.NetworkPolicyPort{{Port: named("http")}, {Port: number(9000), EndPort: &end}, {Port: number(53), Protocol: &udp}},
			},
			{From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "192.168.0.0/16", Except: []string{"192.168.7.0/24"}}}}},
		},
		Egress: []networkingv1.NetworkPolicyEgressRule{
			{To: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}, Ports: []networkingv1.NetworkPolicyPort{{Port: named("sql")}}},
			{To: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: "0.0.0.0/0"}}}, Ports: []networkingv1.NetworkPolicyPort{{Port: number(443)}}},
		},
	}))
	has(t, rules,
		"elements = { 10.42.0.3, 10.42.0.4, 10.42.1.3 }",
		"ip saddr @s0 tcp dport { 8080, 9000-9010 } return",
		"ip saddr @s0 udp dport { 53 } return",
		"ip saddr 192.168.0.0/16 ip saddr != { 192.168.7.0/24 } return",
		"elements = { 10.42.0.3 . tcp . 5432, 10.42.1.3 . tcp . 6432 }",
		"ip daddr . meta l4proto . th dport @",
		"\t\ttcp dport { 443 } return")
	// Answers are judged by the same rules with the ends exchanged.
	has(t, rules,
		"ip daddr @s0 tcp sport { 8080, 9000-9010 } return",
		"ip daddr 192.168.0.0/16 ip daddr != { 192.168.7.0/24 } return",
		"ip saddr . meta l4proto . th sport @",
		"\t\ttcp sport { 443 } return",
		"10.42.0.2 : jump in-answers-10-42-0-2", "10.42.0.2 : jump out-answers-10-42-0-2")
	if strings.Contains(rules, "established") {
		t.Error("a connection that is open already is judged like a new one")
	}
	if strings.Contains(rules, "in-10-42-0-3") {
		t.Error("a pod that no policy selects is isolated")
	}
}

func TestAllowAllAndSelectorsWithoutPods(t *testing.T) {
	rules := render(t, policyOf("open", networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
	}))
	has(t, rules, "chain in-10-42-0-3 {\n\t\tcomment \"shop/db\"\n\t\treturn\n\t\tdrop\n\t}", "map egress {\n\t\ttype ipv4_addr : verdict\n\t}")
	rules = render(t, policyOf("nobody", networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}},
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress},
		Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{
			{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "none"}}},
		}}},
	}))
	has(t, rules, "chain in-10-42-0-3 {\n\t\tcomment \"shop/db\"\n\t\tdrop\n\t}")
}

func TestANewPodWaitsUntilItsPoliciesAreInForce(t *testing.T) {
	rules := render(t, policyOf("deny", networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress}}))
	has(t, rules, "ct state new ip saddr 10.42.0.0/16 ip saddr != @known drop", "ct state new ip daddr 10.42.0.0/16 ip daddr != @known drop",
		"elements = { 10.42.0.2, 10.42.0.3, 10.42.0.4, 10.42.1.3 }")
	if forward := rules[strings.Index(rules, "chain forward"):]; strings.Index(forward, "!= @known drop") > strings.Index(forward, "vmap @egress") {
		t.Error("an unknown address must be stopped before anything else is decided")
	}
	if empty := render(t); strings.Contains(empty, "known") {
		t.Errorf("without a policy nobody waits:\n%s", empty)
	}
}
