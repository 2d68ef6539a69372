package network

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"alcove/kubernetes/internal/namespaces"
	"alcove/kubernetes/internal/needs"
)

// guard is what the guest's image puts in force before Kubernetes starts.
const guard = "../../../guest/rootfs/usr/lib/alcove/guard.nft"

// TestPodsReachTheWorldButNotTheHost routes between a pod, the machine and a
// host that answers at every address, as QEMU's network does for its host.
func TestPodsReachTheWorldButNotTheHost(t *testing.T) {
	if !namespaces.Own(t) {
		return
	}
	namespaces.Pod(t, "pod", "10.42.0.2")
	namespaces.Shell(t, `ip netns add host
		ip link add eth0 type veth peer name card netns host
		ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up && ip route add default via 10.0.2.2
		ip netns exec host sh -ec "ip link set lo up; ip link set card up; ip addr add 10.0.2.2/24 dev card
			for address in 10.0.2.3 10.0.2.77 198.51.100.1; do ip addr add \$address/32 dev card; done"`)
	if err := Masquerade(context.Background(), "10.42.0.0/16"); err != nil {
		needs.Skip(t, "nftables can't masquerade here: %v", err)
	}
	for _, address := range []string{"10.0.2.2:8080", "10.0.2.3:8080", "10.0.2.77:8080", "198.51.100.1:8080", "10.0.2.3:53"} {
		namespaces.Serve(t, "host", address, namespaces.Echo, namespaces.EchoPacket)
	}
	for _, address := range []string{"10.0.2.15:7443", "10.0.2.15:6443"} {
		namespaces.Serve(t, "", address, namespaces.Echo, namespaces.EchoPacket)
	}
	earlier := dial(t, "host", "tcp", "10.0.2.15:7443")

	rules, err := os.ReadFile(guard)
	if err != nil {
		t.Fatal(err)
	}
	// Twice, as by a restart of its service.
	for range 2 {
		if err := namespaces.Rules(string(rules)); err != nil {
			t.Fatal(err)
		}
	}
	type way struct{ from, network, to string }
	for _, open := range []way{
		{"pod", "udp", "10.0.2.3:53"}, {"pod", "tcp", "10.0.2.3:53"}, {"", "udp", "10.0.2.3:53"}, {"", "tcp", "10.0.2.3:53"},
		{"pod", "tcp", "198.51.100.1:8080"}, {"pod", "udp", "198.51.100.1:8080"}, {"", "tcp", "198.51.100.1:8080"},
		{"pod", "tcp", "10.0.2.15:6443"}, {"host", "tcp", "10.0.2.15:7443"},
	} {
		if err := ask(dial(t, open.from, open.network, open.to)); err != nil {
			t.Errorf("%+v: %v", open, err)
		}
	}
	for _, shut := range []way{
		{"pod", "tcp", "10.0.2.2:8080"}, {"pod", "udp", "10.0.2.2:8080"}, {"pod", "tcp", "10.0.2.77:8080"}, {"pod", "udp", "10.0.2.77:8080"},
		{"pod", "tcp", "10.0.2.3:8080"}, {"pod", "udp", "10.0.2.3:8080"}, {"pod", "tcp", "10.43.0.1:8080"},
		// What runs in the machine's own network may do no more.
		{"", "tcp", "10.0.2.2:8080"}, {"", "udp", "10.0.2.2:8080"}, {"", "tcp", "10.0.2.3:8080"},
		{"pod", "tcp", "10.0.2.15:7443"}, {"", "tcp", "10.0.2.15:7443"},
	} {
		connection, err := open(shut.from, shut.network, shut.to)
		if err == nil {
			err = ask(connection)
			connection.Close()
		}
		// Refused, so that nobody waits.
		if !errors.Is(err, syscall.EHOSTUNREACH) && !errors.Is(err, syscall.ECONNREFUSED) && !errors.Is(err, syscall.EPERM) {
			t.Errorf("%+v: %v", shut, err)
		}
	}
	if err := ask(earlier); err != nil {
		t.Error("who was in before the rules is cut off:", err)
	}
}

// TestTheDoorAnswersWhoCameInBeforeTheRules lets the machine speak first after
// the rules came: connections are tracked only since then.
func TestTheDoorAnswersWhoCameInBeforeTheRules(t *testing.T) {
	if !namespaces.Own(t) {
		return
	}
	namespaces.Shell(t, `ip netns add host
		ip link add eth0 type veth peer name card netns host
		ip addr add 10.0.2.15/24 dev eth0 && ip link set eth0 up
		ip netns exec host sh -ec "ip link set card up; ip addr add 10.0.2.2/24 dev card"`)
	speak := make(chan struct{})
	namespaces.Serve(t, "", "10.0.2.15:7443", func(connection net.Conn) {
		<-speak
		connection.Write([]byte("news"))
	}, namespaces.EchoPacket)
	connection := dial(t, "host", "tcp", "10.0.2.15:7443")
	rules, err := os.ReadFile(guard)
	if err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Rules(string(rules)); err != nil {
		t.Fatal(err)
	}
	close(speak)
	if err := hear(connection); err != nil {
		t.Fatal(err)
	}
}

func open(from, kind, to string) (net.Conn, error) {
	return namespaces.Within(from, func() (net.Conn, error) { return net.DialTimeout(kind, to, 5*time.Second) })
}

func dial(t *testing.T, from, kind, to string) net.Conn {
	t.Helper()
	connection, err := open(from, kind, to)
	if err != nil {
		t.Fatalf("%s to %s from %q: %v", kind, to, from, err)
	}
	t.Cleanup(func() { connection.Close() })
	return connection
}

func ask(connection net.Conn) error {
	if _, err := connection.Write([]byte("hello")); err != nil {
		return err
	}
	return hear(connection)
}

func hear(connection net.Conn) error {
	if err := connection.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
		return err
	}
	_, err := connection.Read(make([]byte, 64))
	return err
}
