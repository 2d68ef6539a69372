package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/k3s-io/kine/pkg/drivers"
	_ "github.com/k3s-io/kine/pkg/drivers/sqlite" // the only driver; others would pull in their servers
	"github.com/k3s-io/kine/pkg/server"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"

	"alcove/kubernetes/internal/config"
	"alcove/kubernetes/internal/fault"
	"alcove/kubernetes/internal/sqlite"
)

const (
	progressNotify = 5 * time.Second
	emulatedEtcd   = "3.6.11"
	// The longest path that fits a Unix socket's address.
	longestSocketPath = 100
)

// datastore is where the API server finds its store.
type datastore struct {
	endpoints []string
	ca        string
	cert      string
	key       string
	// shared says whether other servers may use the store, which makes the
	// controllers elect a leader.
	shared bool
	// closed ends when everything that was acknowledged is in the file and
	// the file is closed.
	closed func()
}

func openDatastore(ctx context.Context, c *config.Config) (*datastore, error) {
	if !c.Embedded() {
		return externalDatastore(c)
	}
	file := c.Path("server", "db", "state.db")
	if path := strings.TrimPrefix(c.Datastore, "sqlite://"); path != c.Datastore && path != "" {
		file = path
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return nil, fault.Wrap(fault.CodeDatastore, err, "cannot make the store's folder", "check that the data disk is mounted and writable")
	}
	// SQLite gives its files beside it the mode of the store's own.
	if empty, err := os.OpenFile(file, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, fault.Wrap(fault.CodeDatastore, err, "cannot open the store "+file, "check that the data disk is mounted and writable")
	} else if err := errors.Join(empty.Chmod(0o600), empty.Close()); err != nil {
		return nil, fault.Wrap(fault.CodeDatastore, err, "cannot protect the store "+file, "")
	}
	logrus.SetLevel(logrus.WarnLevel)
	socket, removeSocket, err := storeSocket(c.Path("server", "kine.sock"))
	if err != nil {
		return nil, fault.Wrap(fault.CodeDatastore, err, "cannot listen for the API server", "")
	}
	group := &sync.WaitGroup{}
	// The store outlives the context: the API server's last writes must
	// still be taken while it shuts down.
	storeContext, stopStore := context.WithCancel(context.Background())
	_, backend, err := drivers.New(storeContext, group, sqlite.Config(file))
	if err == nil {
		err = primeStore(ctx, c, file)
	}
	if err == nil {
		err = backend.Start(storeContext)
	}
	if err != nil {
		stopStore()
		removeSocket()
		return nil, fault.Wrap(fault.CodeDatastore, err, "cannot open the store "+file, "if the disk is full, free some; if the file is damaged, restore a snapshot of the machine")
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		stopStore()
		removeSocket()
		return nil, fault.Wrap(fault.CodeDatastore, err, "cannot listen for the API server", "")
	}
	if err := os.Chmod(socket, 0o600); err != nil {
		stopStore()
		return nil, fault.Wrap(fault.CodeDatastore, err, "cannot protect the store's socket", "")
	}
	service := grpc.NewServer(grpc.MaxRecvMsgSize(2*1024*1024), grpc.MaxSendMsgSize(math.MaxInt32), grpc.MaxConcurrentStreams(math.MaxUint32),
		// The API server's clients ask every half minute whether the store is
		// alive; grpc's default takes that for abuse and hangs up.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		// The API server opens a connection per kind of resource, most of
		// them idle: they need no large buffers of their own.
		grpc.ReadBufferSize(4<<10), grpc.WriteBufferSize(4<<10), grpc.SharedWriteBuffer(true))
	server.New(backend, "unix", progressNotify, emulatedEtcd).Register(service)
	served := make(chan struct{})
	go func() {
		defer close(served)
		if err := service.Serve(listener); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			fmt.Fprintln(os.Stderr, "the store's listener ended:", err)
		}
	}()
	return &datastore{
		endpoints: []string{"unix://" + socket},
		closed: func() {
			service.Stop()
			<-served
			stopStore()
			group.Wait()
			removeSocket()
		},
	}, nil
}

// storeSocket gives a path that fits a socket address and clears what a
// killed process left there.
func storeSocket(wanted string) (string, func(), error) {
	if len(wanted) <= longestSocketPath {
		if err := os.Remove(wanted); err != nil && !os.IsNotExist(err) {
			return "", nil, err
		}
		return wanted, func() { os.Remove(wanted) }, nil
	}
	folder, err := os.MkdirTemp("", "k3s-")
	if err != nil {
		return "", nil, err
	}
	return filepath.Join(folder, "kine.sock"), func() { os.RemoveAll(folder) }, nil
}

func externalDatastore(c *config.Config) (*datastore, error) {
	endpoints := strings.Split(c.Datastore, ",")
	for _, endpoint := range endpoints {
		address, err := url.Parse(endpoint)
		if err != nil || (address.Scheme != "http" && address.Scheme != "https") || address.Host == "" {
			return nil, fault.New(fault.CodeUnsupported, "datastore-endpoint is neither sqlite nor the addresses of an etcd",
				"write it as https://host:2379, several separated by commas")
		}
	}
	return &datastore{
		endpoints: endpoints, ca: c.DatastoreCA, cert: c.DatastoreCert, key: c.DatastoreKey, shared: true, closed: func() {},
	}, nil
}
