package policy

import (
	"errors"
	"net"
	"os/exec"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"alcove/kubernetes/internal/namespaces"
)

// cutWithin is how soon a forbidden connection must be silent, and how long
// an allowed one is watched.
const cutWithin = 2 * time.Second

// TestConnectionsThatAPolicyForbidsAreCut routes between real network
// namespaces.
func TestConnectionsThatAPolicyForbidsAreCut(t *testing.T) {
	if !namespaces.Own(t) {
		return
	}
	for _, pod := range []string{"2", "3", "4"} {
		namespaces.Pod(t, "pod"+pod, "10.42.0."+pod)
	}
	// Connections are tracked from the start, as on every node: services need it.
	if err := namespaces.Rules("table ip services {\n chain prerouting {\n type nat hook prerouting priority dstnat; policy accept;\n ct state new accept\n }\n}\n"); err != nil {
		t.Fatal(err)
	}
	// 10.42.0.2 is shop/web, which serves; .3 is shop/db and .4 ops/scraper.
	namespaces.Serve(t, "pod2", ":8080", namespaces.Echo, pushOrEcho)
	apply := func(policies ...*networkingv1.NetworkPolicy) {
		t.Helper()
		rules, err := Render(cluster(policies...))
		if err != nil {
			t.Fatal(err)
		}
		if err := namespaces.Rules(rules); err != nil {
			t.Fatal(err)
		}
	}
	fromDB := func(side networkingv1.PolicyType) *networkingv1.NetworkPolicy {
		return policyOf("db", networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			PolicyTypes: []networkingv1.PolicyType{side},
			Ingress: []networkingv1.NetworkPolicyIngressRule{{
				From:  []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}},
				Ports: []networkingv1.NetworkPolicyPort{{Port: named("http")}},
			}},
		})
	}
	talk := func(pod, network string) net.Conn {
		t.Helper()
		connection, err := namespaces.Within(pod, func() (net.Conn, error) { return net.DialTimeout(network, "10.42.0.2:8080", 5*time.Second) })
		if err != nil {
			t.Fatalf("%s from %s: %v", network, pod, err)
		}
		t.Cleanup(func() { connection.Close() })
		if !answers(connection) {
			t.Fatalf("%s from %s: no answer", network, pod)
		}
		return connection
	}
	apply()
	allowed, forbidden := talk("pod3", "tcp"), talk("pod4", "tcp")
	listener := talk("pod4", "udp")
	// What is pushed to somebody who only listens is cut too.
	if _, err := listener.Write([]byte("push")); err != nil {
		t.Fatal(err)
	}
	if !hears(listener) {
		t.Fatal("nothing was pushed")
	}

	apply(fromDB(networkingv1.PolicyTypeIngress))
	eventuallySilent(t, "a connection that the policy forbids", func() bool { return answers(forbidden) })
	eventuallySilent(t, "what is pushed over it", func() bool { return hears(listener) })
	for until := time.Now().Add(cutWithin); time.Now().Before(until); {
		if !answers(allowed) {
			t.Fatal("an allowed connection was hurt")
		}
	}
	if _, err := namespaces.Within("pod4", func() (net.Conn, error) { return net.DialTimeout("tcp", "10.42.0.2:8080", time.Second) }); err == nil {
		t.Error("a new connection got through")
	}

	// The sender's side: what web may no longer send is cut, its answers to
	// others stay.
	apply(policyOf("silent", networkingv1.NetworkPolicySpec{
		PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}, PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
	}))
	eventuallySilent(t, "a connection that its opener may no longer use", func() bool { return answers(allowed) })
	talk("pod4", "tcp")
	// Policies that are gone hinder nobody, and the cut connection goes on
	// when its ends have not given up.
	apply()
	talk("pod3", "tcp")
	if err := exec.Command("nft", "list", "table", "ip", Table).Run(); err == nil {
		t.Error("a table without a policy")
	}
}

// pushOrEcho sends a packet back; who says "push" is sent something again and
// again.
func pushOrEcho(packets net.PacketConn, packet []byte, from net.Addr) {
	if string(packet) != "push" {
		namespaces.EchoPacket(packets, packet, from)
		return
	}
	go func() {
		for {
			if _, err := packets.WriteTo([]byte("pushed"), from); errors.Is(err, net.ErrClosed) {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
}

func answers(connection net.Conn) bool {
	if _, err := connection.Write([]byte("hello")); err != nil {
		return false
	}
	return hears(connection)
}

func hears(connection net.Conn) bool {
	connection.SetReadDeadline(time.Now().Add(500 * time.Millisecond))
	_, err := connection.Read(make([]byte, 64))
	return err == nil
}

func eventuallySilent(t *testing.T, what string, speaks func() bool) {
	t.Helper()
	for until := time.Now().Add(cutWithin); speaks(); {
		if time.Now().After(until) {
			t.Fatal("not cut: ", what)
		}
	}
	if speaks() {
		t.Fatal("not cut: ", what)
	}
}
