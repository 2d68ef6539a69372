package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"k8s.io/client-go/kubernetes"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/kubeconfig"
	"alcove/kubernetes/internal/notify"
	"alcove/kubernetes/internal/pki"
	"alcove/kubernetes/internal/release"
	"alcove/kubernetes/internal/step"
)

const (
	readyPoll     = 100 * time.Millisecond
	shutdownGrace = 12 * time.Second
	// A look at a dozen small files. Timers stand still while the machine is
	// suspended: after that a long wait would come too late.
	renewalCheck = 30 * time.Second
)

var errRenew = errors.New("certificates are due; a restart renews them")

// serve is the applet `server`.
func serve(arguments []string) error {
	systemd := notify.Socket()
	c, err := config.Load(config.Server, arguments, os.Getenv)
	if err != nil {
		return err
	}
	if c.ServerURL != "" {
		return fault.New(fault.CodeUnsupported, "a second server needs a store that servers share", "use `k3s agent` to join as a node, or give an etcd by datastore-endpoint to each server and leave `server` out")
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	tuneStart()
	parts := newComponents(ctx)
	parts.Chore("start", func(ctx context.Context) error { return startServer(ctx, parts, c, systemd) })
	err = parts.Wait(shutdownGrace)
	if err := notify.Send(systemd, "STOPPING=1"); err != nil {
		fmt.Fprintln(os.Stderr, "systemd was not told:", err)
	}
	return err
}

// startServer starts the parts of a server, in the order of what they need.
func startServer(ctx context.Context, parts *components, c *config.Config, systemd string) error {
	identity, err := nodeIdentity(c)
	if err != nil {
		return err
	}
	if c.Advertise == "" {
		c.Advertise = identity.address
	}
	authorities, token, err := certificates(c, identity)
	if err != nil {
		return err
	}
	step.Report("certificates", step.Done)

	api := newGate()
	if !c.DisableAgent {
		node := nodeSettings{
			identity: identity, server: localAPI(c), clusterCIDR: c.ClusterCIDR, clusterDNS: c.ClusterDNS,
			clusterDomain: c.ClusterDomain, serverNode: true, policies: !c.Disabled["network-policy"],
		}
		if err := startNode(parts, c, node, api); err != nil {
			return err
		}
	}
	store, err := openDatastore(ctx, c)
	if err != nil {
		return err
	}
	step.Report("datastore", step.Ready)

	supervisor := &supervisor{config: c, authorities: authorities, token: token}
	prepared, err := prepareAPIServer(ctx, c, store, supervisor.wrap)
	if err != nil {
		store.closed()
		return err
	}
	parts.Start("kube-apiserver", func(ctx context.Context) error {
		// The store closes after the API server's last write and not before.
		defer store.closed()
		return prepared.run(ctx)
	})
	parts.Chore("certificate renewal", func(ctx context.Context) error { return watchCertificates(ctx, c) })
	return startControlPlane(ctx, parts, c, store, prepared, supervisor, api, systemd)
}

// startControlPlane brings up what needs an API that answers.
func startControlPlane(ctx context.Context, parts *components, c *config.Config, store *datastore, prepared *preparedAPI, supervisor *supervisor, api *gate, systemd string) error {
	// Alive is enough for everything whose identity is in a certificate; the
	// roles for the others are still being written then.
	if err := prepared.waitFor(ctx, "/livez/ping"); err != nil {
		return err
	}
	step.Report("apiserver", "listening")
	api.Open()
	parts.Start("kube-scheduler", func(ctx context.Context) error { return runScheduler(ctx, c, store) })
	client, err := kubernetes.NewForConfig(prepared.loopback)
	if err != nil {
		return err
	}
	supervisor.setClient(client)
	if err := prepared.waitFor(ctx, "/readyz"); err != nil {
		return err
	}
	step.Report("apiserver", step.Ready)
	// The controllers look at the health of the API once, for ten seconds,
	// and end when it is not well by then: they come after it.
	parts.Start("kube-controller-manager", func(ctx context.Context) error { return runControllers(ctx, c, store) })
	step.Report("scheduler", step.Ready)
	if err := startAddons(ctx, parts, c, prepared.loopback, client); err != nil {
		return err
	}
	if err := controllersReady(ctx, client); err != nil {
		return err
	}
	step.Report("controllers", step.Ready)
	if err := notify.Send(systemd, "READY=1\nSTATUS=the API is ready"); err != nil {
		fmt.Fprintln(os.Stderr, "systemd was not told:", err)
	}
	if rolesCurrent(c) {
		if err := checkRoles(ctx, prepared.loopback); err != nil {
			fmt.Fprintln(os.Stderr, "the default roles could not be checked:", err)
		}
	} else if err := pki.WriteDurable(rolesMarker(c), []byte(release.Version+"\n"), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, "the default roles could not be marked:", err)
	}
	tuneRunning(ctx)
	return nil
}

func localAPI(c *config.Config) string {
	host := "127.0.0.1"
	if bound := net.ParseIP(c.BindAddress); bound != nil && !bound.IsUnspecified() {
		host = bound.String()
	}
	return "https://" + net.JoinHostPort(host, strconv.Itoa(c.Port))
}

// certificates makes what is missing below server/tls and agent, the token,
// and the kubeconfigs that refer to them.
func certificates(c *config.Config, identity identity) (*pki.Authorities, pki.Token, error) {
	failed := func(err error) error {
		return fault.Wrap(fault.CodeCertificates, err, "the certificates could not be made", "check that "+c.DataDir+" is writable, that the clock is right and that your own authorities, if any, are complete")
	}
	// server/ holds only keys and the store: nobody but root looks inside.
	if err := os.MkdirAll(c.Path("server"), 0o700); err != nil {
		return nil, pki.Token{}, failed(err)
	}
	folder := c.Path("server", "tls")
	hosts := append([]string{identity.name, identity.address}, identity.external...)
	if host, err := os.Hostname(); err == nil {
		hosts = append(hosts, host)
	}
	if bound := net.ParseIP(c.BindAddress); bound != nil && !bound.IsUnspecified() {
		hosts = append(hosts, c.BindAddress)
	}
	if c.Advertise != "" {
		hosts = append(hosts, c.Advertise)
	}
	authorities, _, err := pki.EnsureServer(folder, pki.ServerNames{
		ServiceIP: c.APIServiceIP(), ClusterDomain: c.ClusterDomain, Hosts: append(hosts, c.SANs...),
	})
	if err != nil {
		return nil, pki.Token{}, failed(err)
	}
	token, err := pki.EnsureToken(c.Path("server"), c.Token, authorities.Server.PEM)
	if err != nil {
		return nil, pki.Token{}, err
	}
	tls := func(name string) string { return filepath.Join(folder, name) }
	server := localAPI(c)
	for file, identity := range map[string]string{
		"admin": "client-admin", "controller": "client-controller", "scheduler": "client-scheduler",
		"supervisor": "client-supervisor", "api-server": "client-kube-apiserver",
	} {
		path := c.Path("server", "cred", file+".kubeconfig")
		if err := kubeconfig.Referring(path, server, tls("server-ca.crt"), tls(identity+".crt"), tls(identity+".key")); err != nil {
			return nil, pki.Token{}, failed(err)
		}
	}
	if err := kubeconfig.Embedded(c.Kubeconfig, server, tls("server-ca.crt"), tls("client-admin.crt"), tls("client-admin.key"), c.KubeconfigMode); err != nil {
		return nil, pki.Token{}, fault.Wrap(fault.CodePermission, err, "the kubeconfig could not be written", "choose another place by write-kubeconfig")
	}
	if !c.DisableAgent {
		if err := localNodeCertificates(c, authorities, identity); err != nil {
			return nil, pki.Token{}, failed(err)
		}
	}
	return authorities, token, nil
}

// watchCertificates ends the process when a certificate is due: certificates
// are made at a start, and pods keep running over a restart.
func watchCertificates(ctx context.Context, c *config.Config) error {
	ticker := time.NewTicker(renewalCheck)
	defer ticker.Stop()
	due := pki.Watch(ctx, ticker.C, c.Path("server", "tls"), c.Path("agent"))
	if len(due) == 0 {
		return nil
	}
	fmt.Fprintf(os.Stderr, "certificates are due, restarting to renew them: %v\n", due)
	return errRenew
}
