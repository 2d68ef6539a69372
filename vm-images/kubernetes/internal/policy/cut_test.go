package policy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// insideNamespaces says that the process has a network of its own.
const insideNamespaces = "POLICY_TEST_INSIDE"

// cutWithin is how soon a forbidden connection must be silent, and how long
// an allowed one is watched.
const cutWithin = 2 * time.Second

// TestConnectionsThatAPolicyForbidsAreCut routes between real network
// namespaces. It runs itself again in namespaces of its own, which end with it.
func TestConnectionsThatAPolicyForbidsAreCut(t *testing.T) {
	if os.Getenv(insideNamespaces) == "" {
		for _, tool := range []string{"nft", "ip", "unshare"} {
			if _, err := exec.LookPath(tool); err != nil {
				t.Skipf("%s is not installed", tool)
			}
		}
		if err := exec.Command("unshare", "--net", "--mount", "nft", "list", "tables").Run(); err != nil {
			t.Skip("needs root and nf_tables:", err)
		}
		again := exec.Command("unshare", "--net", "--mount", "--propagation", "private", os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), insideNamespaces+"=yes")
		output, err := again.CombinedOutput()
		t.Log(string(output))
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	sh(t, `mount -t tmpfs tmpfs /run && ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward
		for pod in 2 3 4; do
			ip netns add pod$pod
			ip link add veth$pod type veth peer name eth0 netns pod$pod
			ip addr add 10.42.0.1/32 dev veth$pod
			ip link set veth$pod up
			ip route add 10.42.0.$pod/32 dev veth$pod
			ip netns exec pod$pod sh -ec "ip link set lo up; ip link set eth0 up; ip addr add 10.42.0.$pod/32 dev eth0
				ip route add 10.42.0.1 dev eth0; ip route add default via 10.42.0.1"
		done`)
	// Connections are tracked from the start, as on every node: services need it.
	if err := applyRules("table ip services {\n chain prerouting {\n type nat hook prerouting priority dstnat; policy accept;\n ct state new accept\n }\n}\n"); err != nil {
		t.Fatal(err)
	}
	// 10.42.0.2 is shop/web, which serves; .3 is shop/db and .4 ops/scraper.
	serve(t, "pod2")
	apply := func(policies ...*networkingv1.NetworkPolicy) {
		t.Helper()
		rules, err := Render(cluster(policies...))
		if err != nil {
			t.Fatal(err)
		}
		if err := applyRules(rules); err != nil {
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
		connection, err := within(pod, func() (net.Conn, error) { return net.DialTimeout(network, "10.42.0.2:8080", 5*time.Second) })
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
	if _, err := within("pod4", func() (net.Conn, error) { return net.DialTimeout("tcp", "10.42.0.2:8080", time.Second) }); err == nil {
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

func sh(t *testing.T, script string) {
	t.Helper()
	if output, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

func applyRules(rules string) error {
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(rules)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s\n%s", err, output, rules)
	}
	return nil
}

// within opens a socket in a namespace: a socket stays where it was opened.
func within[T any](name string, open func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result)
	go func() {
		// The thread is not given back: it ends with this goroutine.
		runtime.LockOSThread()
		var got result
		var space netns.NsHandle
		if space, got.err = netns.GetFromName(name); got.err == nil {
			if got.err = netns.Set(space); got.err == nil {
				got.value, got.err = open()
			}
			space.Close()
		}
		done <- got
	}()
	got := <-done
	return got.value, got.err
}

// serve echoes over TCP and UDP on port 8080; who says "push" is sent
// something again and again.
func serve(t *testing.T, name string) {
	t.Helper()
	listener, err := within(name, func() (net.Listener, error) { return net.Listen("tcp4", ":8080") })
	if err != nil {
		t.Fatal(err)
	}
	packets, err := within(name, func() (net.PacketConn, error) { return net.ListenPacket("udp4", ":8080") })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close(); packets.Close() })
	go func() {
		for {
			connection, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				buffer := make([]byte, 64)
				for {
					n, err := connection.Read(buffer)
					if err != nil {
						return
					}
					connection.Write(buffer[:n])
				}
			}()
		}
	}()
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			if string(buffer[:n]) == "push" {
				go func() {
					for {
						if _, err := packets.WriteTo([]byte("pushed"), from); errors.Is(err, net.ErrClosed) {
							return
						}
						time.Sleep(20 * time.Millisecond)
					}
				}()
				continue
			}
			packets.WriteTo(buffer[:n], from)
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
