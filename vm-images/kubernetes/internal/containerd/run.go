package containerd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	versionservice "github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

const (
	pidFile   = "containerd.pid"
	dialPoll  = 20 * time.Millisecond
	stopGrace = 5 * time.Second
)

// ErrNoBinary says that containerd is not installed.
var ErrNoBinary = errors.New("containerd is not installed beside k3s")

// Find looks for a program where this distribution puts it, then in the path.
func Find(name string) (string, error) {
	folders := []string{}
	if own, err := os.Executable(); err == nil {
		if resolved, err := filepath.EvalSymlinks(own); err == nil {
			own = resolved
		}
		folders = append(folders, filepath.Join(filepath.Dir(own), "..", "lib", "k3s", "bin"), filepath.Dir(own))
	}
	folders = append(folders, "/usr/lib/k3s/bin")
	for _, folder := range folders {
		path := filepath.Join(folder, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return exec.LookPath(name)
}

// Run keeps one containerd until the context ends or it ends by itself. The
// shims of running pods survive both: the next containerd takes them over.
func Run(ctx context.Context, binary, configFile string) error {
	if err := os.MkdirAll(StateFolder, 0o711); err != nil {
		return err
	}
	if err := endLeftover(filepath.Join(StateFolder, pidFile)); err != nil {
		return err
	}
	ended := make(chan error, 1)
	started := make(chan *os.Process, 1)
	go func() {
		// The death signal belongs to the thread that started the child, so
		// this goroutine keeps its thread for as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		command := exec.Command(binary, "--config", configFile, "--log-level", logLevel())
		command.Stdout, command.Stderr = os.Stderr, os.Stderr
		command.Env = environment(filepath.Dir(binary))
		// A killed k3s takes containerd along, whose store survives that;
		// two of them would fight for the same socket.
		command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
		if err := command.Start(); err != nil {
			started <- nil
			ended <- err
			return
		}
		started <- command.Process
		ended <- command.Wait()
	}()
	process := <-started
	if process == nil {
		return <-ended
	}
	if err := os.WriteFile(filepath.Join(StateFolder, pidFile), []byte(strconv.Itoa(process.Pid)), 0o600); err != nil {
		process.Kill()
		<-ended
		return err
	}
	select {
	case err := <-ended:
		return fmt.Errorf("containerd ended: %w", orUnknown(err))
	case <-ctx.Done():
	}
	process.Signal(syscall.SIGTERM)
	select {
	case <-ended:
	case <-time.After(stopGrace):
		process.Kill()
		<-ended
	}
	return nil
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("without an error")
	}
	return err
}

func logLevel() string {
	if level := os.Getenv("CONTAINERD_LOG_LEVEL"); level != "" {
		return level
	}
	return "warn"
}

// environment puts the shim into the path and keeps the resident size small.
func environment(folder string) []string {
	environment := []string{}
	for _, entry := range os.Environ() {
		if !strings.HasPrefix(entry, "PATH=") && !strings.HasPrefix(entry, "GOGC=") && !strings.HasPrefix(entry, "GOMEMLIMIT=") {
			environment = append(environment, entry)
		}
	}
	path := os.Getenv("PATH")
	if path == "" {
		path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	}
	return append(environment, "PATH="+folder+":"+path, "GOGC=50")
}

// endLeftover ends a containerd of an earlier life that is still there.
func endLeftover(path string) error {
	raw, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(raw)))
	if err != nil || pid < 2 {
		return os.Remove(path)
	}
	// A number alone may by now belong to something else.
	name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	if err != nil || strings.TrimSpace(string(name)) != "containerd" {
		return os.Remove(path)
	}
	syscall.Kill(pid, syscall.SIGKILL)
	deadline := time.Now().Add(stopGrace)
	for time.Now().Before(deadline) {
		if err := syscall.Kill(pid, 0); errors.Is(err, syscall.ESRCH) {
			return os.Remove(path)
		}
		if state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)); err != nil || strings.Contains(string(state), ") Z ") {
			return os.Remove(path)
		}
		time.Sleep(dialPoll)
	}
	return fmt.Errorf("an earlier containerd (process %d) does not end", pid)
}

// Connect opens containerd's socket and waits until it answers.
func Connect(ctx context.Context) (*grpc.ClientConn, error) {
	for {
		connection, err := net.Dial("unix", Socket)
		if err == nil {
			connection.Close()
			break
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(dialPoll):
		}
	}
	connection, err := grpc.NewClient("unix://"+Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16<<20), grpc.MaxCallSendMsgSize(16<<20)))
	if err != nil {
		return nil, err
	}
	if _, err := versionservice.NewVersionClient(connection).Version(ctx, &emptypb.Empty{}, grpc.WaitForReady(true)); err != nil {
		connection.Close()
		return nil, err
	}
	return connection, nil
}
