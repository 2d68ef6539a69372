// Package namespaces lets tests route between real networks.
package namespaces

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"alcove/kubernetes/internal/needs"
)

// inside says that the process has a network of its own.
const inside = "ALCOVE_TEST_INSIDE"

// Own says whether the test has a network and a folder /run of its own. When
// it has not, the test is run again where it has, which ends with it; it is
// skipped where that can't be.
func Own(t *testing.T) bool {
	t.Helper()
	if os.Getenv(inside) == "" {
		for _, tool := range []string{"nft", "ip", "unshare"} {
			if _, err := exec.LookPath(tool); err != nil {
				needs.Skip(t, "%s is not installed", tool)
			}
		}
		if err := exec.Command("unshare", "--net", "--mount", "nft", "list", "tables").Run(); err != nil {
			needs.Skip(t, "needs root and nf_tables: %v", err)
		}
		again := exec.Command("unshare", "--net", "--mount", "--propagation", "private", os.Args[0], "-test.v", "-test.run=^"+t.Name()+"$")
		again.Env = append(os.Environ(), inside+"=yes")
		output, err := again.CombinedOutput()
		t.Log(string(output))
		if err != nil {
			t.Fatal(err)
		}
		return false
	}
	Shell(t, "mount -t tmpfs tmpfs /run && ip link set lo up && echo 1 > /proc/sys/net/ipv4/ip_forward")
	return true
}

// Pod makes the network of a pod like the plugins do: a pair of interfaces of
// its own, one of which is the machine's and is called veth and its name.
func Pod(t *testing.T, name, address string) {
	t.Helper()
	Shell(t, fmt.Sprintf(`ip netns add %[1]s
		ip link add veth%[1]s type veth peer name eth0 netns %[1]s
		ip addr add 10.42.0.1/32 dev veth%[1]s
		ip link set veth%[1]s up
		ip route add %[2]s/32 dev veth%[1]s
		ip netns exec %[1]s sh -ec "ip link set lo up; ip link set eth0 up; ip addr add %[2]s/32 dev eth0
			ip route add 10.42.0.1 dev eth0; ip route add default via 10.42.0.1"`, name, address))
}

// Shell runs a script.
func Shell(t *testing.T, script string) {
	t.Helper()
	if output, err := exec.Command("sh", "-ec", script).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
}

// Rules puts a text of nftables in force.
func Rules(rules string) error {
	command := exec.Command("nft", "-f", "-")
	command.Stdin = strings.NewReader(rules)
	if output, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s\n%s", err, output, rules)
	}
	return nil
}

// Within opens a socket in a namespace, or in the test's own when the name is
// empty: a socket stays where it was opened.
func Within[T any](name string, open func() (T, error)) (T, error) {
	if name == "" {
		return open()
	}
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

// Serve hands every TCP connection and every UDP packet that comes to an
// address in a namespace to the two functions, until the test ends.
func Serve(t *testing.T, name, address string, connection func(net.Conn), packet func(net.PacketConn, []byte, net.Addr)) {
	t.Helper()
	listener, err := Within(name, func() (net.Listener, error) { return net.Listen("tcp4", address) })
	if err != nil {
		t.Fatal(err)
	}
	packets, err := Within(name, func() (net.PacketConn, error) { return net.ListenPacket("udp4", address) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close(); packets.Close() })
	go func() {
		for {
			accepted, err := listener.Accept()
			if err != nil {
				return
			}
			go connection(accepted)
		}
	}()
	go func() {
		buffer := make([]byte, 64)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			packet(packets, buffer[:n], from)
		}
	}()
}

// Echo sends back what a connection brings, until it is closed.
func Echo(connection net.Conn) {
	buffer := make([]byte, 64)
	for {
		n, err := connection.Read(buffer)
		if err != nil {
			connection.Close()
			return
		}
		connection.Write(buffer[:n])
	}
}

// EchoPacket sends a packet back.
func EchoPacket(packets net.PacketConn, packet []byte, from net.Addr) {
	packets.WriteTo(packet, from)
}
