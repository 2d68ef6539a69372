package network

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestConflistIsJSON(t *testing.T) {
	raw, err := Conflist("10.42.3.0/24")
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Plugins []struct{ Type string }
	}
	if err := json.Unmarshal(raw, &parsed); err != nil || len(parsed.Plugins) != 2 || parsed.Plugins[0].Type != "ptp" {
		t.Fatal(string(raw), err)
	}
}

func TestRoutesLeadToOtherNodesOnly(t *testing.T) {
	node := func(name, pods, address string) *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.NodeSpec{PodCIDR: pods},
			Status: corev1.NodeStatus{Addresses: []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: name}, {Type: corev1.NodeInternalIP, Address: address}}},
		}
	}
	routes := Wanted("one", []*corev1.Node{node("one", "10.42.0.0/24", "192.168.1.1"), node("two", "10.42.1.0/24", "192.168.1.2"), node("new", "", "192.168.1.3")})
	if len(routes) != 1 || routes[0].Pods.String() != "10.42.1.0/24" || routes[0].Via.String() != "192.168.1.2" {
		t.Fatal(routes)
	}
}
