// Package policy enforces NetworkPolicy on a node with nftables.
//
// One table holds, for every pod of this node that a policy isolates, a chain
// with one rule per allowed peer and a drop at its end. Two maps lead from a
// pod's address to its chain. Every packet is judged, not only the first of a
// connection, so that one which a changed policy forbids is cut at once; for
// answers each chain has a mirror with the two ends exchanged. An address of
// the pod network that no known pod has opens nothing: a new pod's first
// packets wait until its policies are in force. The whole table is replaced in
// one nftables transaction, so packets never see half of a change.
package policy

import (
	"fmt"
	"net"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Table is the name of the nftables table.
const Table = "alcove-policy"

// Cluster is what policies are evaluated against.
type Cluster struct {
	Node       string
	PodNetwork string // CIDR of all pods
	Pods       []*corev1.Pod
	Namespaces map[string]labels.Set
	Policies   []*networkingv1.NetworkPolicy
}

// renderer collects the parts of a table.
type renderer struct {
	cluster Cluster
	pods    []*corev1.Pod // with an address of their own
	sets    []string
	names   map[string]string // content of a set to its name
	chains  []string
}

// Render gives the nftables commands that make the table say what the policies
// say. Without a policy there is no table.
func Render(cluster Cluster) (string, error) {
	r := &renderer{cluster: cluster, names: map[string]string{}}
	for _, pod := range cluster.Pods {
		if hasOwnAddress(pod) {
			r.pods = append(r.pods, pod)
		}
	}
	sort.Slice(r.pods, func(i, j int) bool {
		a, b := r.pods[i], r.pods[j]
		return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
	})
	policies := append([]*networkingv1.NetworkPolicy{}, cluster.Policies...)
	sort.Slice(policies, func(i, j int) bool {
		a, b := policies[i], policies[j]
		return a.Namespace+"/"+a.Name < b.Namespace+"/"+b.Name
	})
	verdicts := map[string][]string{}
	isolate := func(pod *corev1.Pod, policies []*networkingv1.NetworkPolicy, ingress bool) error {
		if len(policies) == 0 {
			return nil
		}
		for _, answers := range []bool{false, true} {
			view := view{ingress: ingress, answers: answers}
			name := view.chain() + "-" + strings.ReplaceAll(pod.Status.PodIP, ".", "-")
			if err := r.chain(name, pod, policies, view); err != nil {
				return err
			}
			verdicts[view.verdicts()] = append(verdicts[view.verdicts()], pod.Status.PodIP+" : jump "+name)
		}
		return nil
	}
	for _, pod := range r.pods {
		if pod.Spec.NodeName != cluster.Node {
			continue
		}
		in, out, err := selecting(pod, policies)
		if err != nil {
			return "", err
		}
		if err := isolate(pod, in, true); err != nil {
			return "", err
		}
		if err := isolate(pod, out, false); err != nil {
			return "", err
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "add table ip %s\ndelete table ip %s\n", Table, Table)
	if len(policies) == 0 {
		return out.String(), nil
	}
	known := []string{}
	for _, pod := range r.pods {
		known = append(known, pod.Status.PodIP)
	}
	sort.Strings(known)
	fmt.Fprintf(&out, "table ip %s {\n", Table)
	for _, set := range r.sets {
		out.WriteString(set)
	}
	for _, chain := range r.chains {
		out.WriteString(chain)
	}
	for _, view := range views {
		fmt.Fprintf(&out, "\tmap %s {\n\t\ttype ipv4_addr : verdict\n", view.verdicts())
		if elements := verdicts[view.verdicts()]; len(elements) > 0 {
			fmt.Fprintf(&out, "\t\telements = { %s }\n", strings.Join(elements, ", "))
		}
		out.WriteString("\t}\n")
	}
	out.WriteString("\tset known {\n\t\ttype ipv4_addr\n")
	if len(known) > 0 {
		fmt.Fprintf(&out, "\t\telements = { %s }\n", strings.Join(known, ", "))
	}
	out.WriteString("\t}\n")
	// Dropped and not refused: who is only early tries again.
	unknown := func(side string) string {
		return fmt.Sprintf("\t\tct state new ip %s %s ip %s != @known drop\n", side, cluster.PodNetwork, side)
	}
	out.WriteString("\tchain answers {\n\t\tip daddr vmap @egress-answers\n\t\tip saddr vmap @ingress-answers\n\t}\n")
	// Behind kube-proxy's translation: a service's packets show the pod that
	// they are for. What the node itself opens, such as probes, is not routed
	// and stays out of it. Errors about a connection belong to it.
	out.WriteString("\tchain forward {\n\t\ttype filter hook forward priority filter - 1; policy accept;\n" +
		"\t\tct state related accept\n\t\tct direction reply goto answers\n" + unknown("saddr") + unknown("daddr") +
		"\t\tip saddr vmap @egress\n\t\tip daddr vmap @ingress\n\t}\n")
	out.WriteString("\tchain input {\n\t\ttype filter hook input priority filter - 1; policy accept;\n" +
		"\t\tct state related accept\n\t\tct direction reply accept\n" + unknown("saddr") + "\t\tip saddr vmap @egress\n\t}\n")
	out.WriteString("\tchain output {\n\t\ttype filter hook output priority filter - 1; policy accept;\n" +
		"\t\tct state related accept\n\t\tct direction reply ip daddr vmap @egress-answers\n\t}\n}\n")
	return out.String(), nil
}

// view is one side from which packets are judged: those to a pod or from it,
// in the direction in which the connection was opened or in the other.
type view struct {
	ingress bool
	answers bool
}

var views = []view{{true, false}, {false, false}, {true, true}, {false, true}}

// verdicts names the map from a pod's address to its chain.
func (v view) verdicts() string { return v.named("ingress", "egress") }

// chain is how a chain's name begins.
func (v view) chain() string { return v.named("in", "out") }

func (v view) named(ingress, egress string) string {
	name := egress
	if v.ingress {
		name = ingress
	}
	if v.answers {
		name += "-answers"
	}
	return name
}

// peer is the field with the address of the other end.
func (v view) peer() string {
	if v.ingress != v.answers {
		return "saddr"
	}
	return "daddr"
}

// port is the field with the port that the connection was opened to.
func (v view) port() string {
	if v.answers {
		return "sport"
	}
	return "dport"
}

func hasOwnAddress(pod *corev1.Pod) bool {
	if pod.Spec.HostNetwork || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return false
	}
	ip := net.ParseIP(pod.Status.PodIP)
	return ip != nil && ip.To4() != nil
}

// selecting are the policies that isolate a pod, by direction.
func selecting(pod *corev1.Pod, policies []*networkingv1.NetworkPolicy) (in, out []*networkingv1.NetworkPolicy, err error) {
	for _, policy := range policies {
		if policy.Namespace != pod.Namespace {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(&policy.Spec.PodSelector)
		if err != nil {
			return nil, nil, fmt.Errorf("policy %s/%s: %w", policy.Namespace, policy.Name, err)
		}
		if !selector.Matches(labels.Set(pod.Labels)) {
			continue
		}
		for _, direction := range policy.Spec.PolicyTypes {
			switch direction {
			case networkingv1.PolicyTypeIngress:
				in = append(in, policy)
			case networkingv1.PolicyTypeEgress:
				out = append(out, policy)
			}
		}
	}
	return in, out, nil
}

// chain writes what a pod may receive (ingress) or send.
func (r *renderer) chain(name string, pod *corev1.Pod, policies []*networkingv1.NetworkPolicy, view view) error {
	var out strings.Builder
	fmt.Fprintf(&out, "\tchain %s {\n\t\tcomment \"%s/%s\"\n", name, pod.Namespace, pod.Name)
	for _, policy := range policies {
		if view.ingress {
			for _, rule := range policy.Spec.Ingress {
				if err := r.rule(&out, pod, policy.Namespace, rule.From, rule.Ports, view); err != nil {
					return err
				}
			}
			continue
		}
		for _, rule := range policy.Spec.Egress {
			if err := r.rule(&out, pod, policy.Namespace, rule.To, rule.Ports, view); err != nil {
				return err
			}
		}
	}
	out.WriteString("\t\tdrop\n\t}\n")
	r.chains = append(r.chains, out.String())
	return nil
}

// rule writes the lines for one rule of a policy: its peers times its ports.
func (r *renderer) rule(out *strings.Builder, pod *corev1.Pod, namespace string, peers []networkingv1.NetworkPolicyPeer, ports []networkingv1.NetworkPolicyPort, view view) error {
	side := view.peer()
	matches := []string{}
	var selected []*corev1.Pod
	if len(peers) == 0 {
		matches = append(matches, "")
		selected = r.pods
	}
	addresses := []string{}
	for _, peer := range peers {
		if peer.IPBlock != nil {
			match, ok, err := blockMatch(side, peer.IPBlock)
			if err != nil {
				return err
			}
			if ok {
				matches = append(matches, match)
			}
			continue
		}
		pods, err := r.peerPods(namespace, peer)
		if err != nil {
			return err
		}
		selected = append(selected, pods...)
		for _, found := range pods {
			addresses = append(addresses, found.Status.PodIP)
		}
	}
	if set := r.set("ipv4_addr", addresses); set != "" {
		matches = append(matches, fmt.Sprintf("ip %s @%s ", side, set))
	}
	if len(ports) == 0 {
		for _, match := range matches {
			fmt.Fprintf(out, "\t\t%sreturn\n", match)
		}
		return nil
	}
	for _, line := range r.portMatches(pod, ports, view) {
		for _, match := range matches {
			fmt.Fprintf(out, "\t\t%s%s return\n", match, line)
		}
	}
	if !view.ingress {
		// A name means another number on every pod that is sent to.
		if set := r.set("ipv4_addr . inet_proto . inet_service", namedTargets(selected, ports)); set != "" {
			fmt.Fprintf(out, "\t\tip %s . meta l4proto . th %s @%s return\n", side, view.port(), set)
		}
	}
	return nil
}

func blockMatch(side string, block *networkingv1.IPBlock) (string, bool, error) {
	ip, network, err := net.ParseCIDR(block.CIDR)
	if err != nil {
		return "", false, err
	}
	if ip.To4() == nil {
		return "", false, nil
	}
	match := fmt.Sprintf("ip %s %s ", side, network)
	if ones, _ := network.Mask.Size(); ones == 0 {
		match = ""
	}
	excepted := []string{}
	for _, text := range block.Except {
		_, except, err := net.ParseCIDR(text)
		if err != nil {
			return "", false, err
		}
		excepted = append(excepted, except.String())
	}
	if len(excepted) > 0 {
		sort.Strings(excepted)
		match += fmt.Sprintf("ip %s != { %s } ", side, strings.Join(excepted, ", "))
	}
	return match, true, nil
}

func (r *renderer) peerPods(namespace string, peer networkingv1.NetworkPolicyPeer) ([]*corev1.Pod, error) {
	inNamespace := func(name string) bool { return name == namespace }
	if peer.NamespaceSelector != nil {
		selector, err := metav1.LabelSelectorAsSelector(peer.NamespaceSelector)
		if err != nil {
			return nil, err
		}
		inNamespace = func(name string) bool {
			set, known := r.cluster.Namespaces[name]
			return known && selector.Matches(set)
		}
	}
	selector := labels.Everything()
	if peer.PodSelector != nil {
		var err error
		if selector, err = metav1.LabelSelectorAsSelector(peer.PodSelector); err != nil {
			return nil, err
		}
	}
	found := []*corev1.Pod{}
	for _, pod := range r.pods {
		if inNamespace(pod.Namespace) && selector.Matches(labels.Set(pod.Labels)) {
			found = append(found, pod)
		}
	}
	return found, nil
}

// set names a set with these elements, made once for all rules that share it.
func (r *renderer) set(kind string, elements []string) string {
	if len(elements) == 0 {
		return ""
	}
	sort.Strings(elements)
	unique := elements[:0]
	for i, element := range elements {
		if i == 0 || element != elements[i-1] {
			unique = append(unique, element)
		}
	}
	content := strings.Join(unique, ", ")
	if name, known := r.names[kind+content]; known {
		return name
	}
	name := fmt.Sprintf("s%d", len(r.sets))
	r.names[kind+content] = name
	r.sets = append(r.sets, fmt.Sprintf("\tset %s {\n\t\ttype %s\n\t\telements = { %s }\n\t}\n", name, kind, content))
	return name
}

// portMatches gives one match per protocol; for ingress a named port is a
// number of the receiving pod.
func (r *renderer) portMatches(pod *corev1.Pod, ports []networkingv1.NetworkPolicyPort, view view) []string {
	numbers := map[string][]string{}
	whole := map[string]bool{}
	for _, port := range ports {
		protocol := protocolOf(port.Protocol)
		switch {
		case port.Port == nil:
			whole[protocol] = true
		case port.Port.Type == intstr.Int && port.EndPort != nil:
			numbers[protocol] = append(numbers[protocol], fmt.Sprintf("%d-%d", port.Port.IntVal, *port.EndPort))
		case port.Port.Type == intstr.Int:
			numbers[protocol] = append(numbers[protocol], fmt.Sprint(port.Port.IntVal))
		case view.ingress:
			for _, number := range containerPorts(pod, port.Port.StrVal, protocol) {
				numbers[protocol] = append(numbers[protocol], fmt.Sprint(number))
			}
		}
	}
	lines := []string{}
	for _, protocol := range []string{"tcp", "udp", "sctp"} {
		if whole[protocol] {
			lines = append(lines, "meta l4proto "+protocol)
		} else if list := numbers[protocol]; len(list) > 0 {
			lines = append(lines, fmt.Sprintf("%s %s { %s }", protocol, view.port(), strings.Join(list, ", ")))
		}
	}
	return lines
}

func namedTargets(pods []*corev1.Pod, ports []networkingv1.NetworkPolicyPort) []string {
	targets := []string{}
	for _, port := range ports {
		if port.Port == nil || port.Port.Type != intstr.String {
			continue
		}
		protocol := protocolOf(port.Protocol)
		for _, pod := range pods {
			for _, number := range containerPorts(pod, port.Port.StrVal, protocol) {
				targets = append(targets, fmt.Sprintf("%s . %s . %d", pod.Status.PodIP, protocol, number))
			}
		}
	}
	return targets
}

func protocolOf(protocol *corev1.Protocol) string {
	if protocol == nil {
		return "tcp"
	}
	return strings.ToLower(string(*protocol))
}

func containerPorts(pod *corev1.Pod, name, protocol string) []int32 {
	found := []int32{}
	for _, container := range pod.Spec.Containers {
		for _, port := range container.Ports {
			kind := strings.ToLower(string(port.Protocol))
			if kind == "" {
				kind = "tcp"
			}
			if port.Name == name && kind == protocol {
				found = append(found, port.ContainerPort)
			}
		}
	}
	return found
}
