package network

import (
	"context"
	"fmt"
	"net"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	corelisters "k8s.io/client-go/listers/core/v1"

	"k8s.io/apimachinery/pkg/labels"
)

// routeProtocol marks our routes among the others of the machine.
const routeProtocol = 198

// Route leads to the pods of another node.
type Route struct {
	Pods *net.IPNet
	Via  net.IP
}

// Wanted are the routes that a node needs to reach the pods of the others.
func Wanted(own string, nodes []*corev1.Node) []Route {
	routes := []Route{}
	for _, node := range nodes {
		if node.Name == own || node.Spec.PodCIDR == "" {
			continue
		}
		_, pods, err := net.ParseCIDR(node.Spec.PodCIDR)
		if err != nil {
			continue
		}
		for _, address := range node.Status.Addresses {
			if ip := net.ParseIP(address.Address); address.Type == corev1.NodeInternalIP && ip.To4() != nil {
				routes = append(routes, Route{Pods: pods, Via: ip})
				break
			}
		}
	}
	return routes
}

// Sync brings the machine's routes in line with the nodes. Nodes share a
// layer 2 network; one that can't be reached directly is reported.
func Sync(_ context.Context, own string, lister corelisters.NodeLister) error {
	nodes, err := lister.List(labels.Everything())
	if err != nil {
		return err
	}
	wanted := map[string]net.IP{}
	for _, route := range Wanted(own, nodes) {
		wanted[route.Pods.String()] = route.Via
	}
	present, err := netlink.RouteListFiltered(netlink.FAMILY_V4, &netlink.Route{Protocol: routeProtocol}, netlink.RT_FILTER_PROTOCOL)
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	for i := range present {
		via, known := net.IP(nil), false
		if present[i].Dst != nil {
			via, known = wanted[present[i].Dst.String()]
		}
		if known && via.Equal(present[i].Gw) {
			delete(wanted, present[i].Dst.String())
			continue
		}
		if err := netlink.RouteDel(&present[i]); err != nil {
			return fmt.Errorf("removing the route %s: %w", present[i].Dst, err)
		}
	}
	for pods, via := range wanted {
		_, network, err := net.ParseCIDR(pods)
		if err != nil {
			return err
		}
		route := &netlink.Route{Dst: network, Gw: via, Protocol: routeProtocol}
		if err := netlink.RouteReplace(route); err != nil {
			return fmt.Errorf("the route to the pods %s by %s: %w", pods, via, err)
		}
	}
	return nil
}
