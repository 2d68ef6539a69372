// Package tests runs the built program as a real control plane on loopback.
package tests

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"alcove/kubernetes/internal/pki"
)

const startDeadline = 3 * time.Minute

// program gives the program under test: K3S_BINARY, or one built from here.
func program(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("K3S_BINARY"); path != "" {
		return path
	}
	path := filepath.Join(t.TempDir(), "k3s")
	if output, err := exec.Command("go", "build", "-o", path, "../cmd/k3s").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	return path
}

type plane struct {
	process *exec.Cmd
	log     string
	steps   chan string
	client  *kubernetes.Clientset
	ended   chan struct{}
}

func freePort(t *testing.T) int {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().(*net.TCPAddr).Port
}

// launch starts the program and waits for nothing.
func launch(t *testing.T, binary, folder string, port int) *plane {
	t.Helper()
	p := &plane{steps: make(chan string, 64), ended: make(chan struct{})}
	p.log = filepath.Join(folder, "log")
	p.process = exec.Command(binary, "server", "--disable-agent", "--data-dir", folder, "--bind-address", "127.0.0.1",
		"--https-listen-port", fmt.Sprint(port), "--write-kubeconfig", filepath.Join(folder, "kubeconfig.yaml"), "--config", "/dev/null")
	out, err := p.process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(p.log)
	if err != nil {
		t.Fatal(err)
	}
	p.process.Stderr = log
	p.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.process.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.process.Process.Kill(); <-p.ended })
	go p.follow(out)
	return p
}

func start(t *testing.T, binary, folder string, port int) *plane {
	t.Helper()
	p := launch(t, binary, folder, port)
	p.until(t, "alcove-step controllers ready")
	settings, err := clientcmd.BuildConfigFromFlags("", filepath.Join(folder, "kubeconfig.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if p.client, err = kubernetes.NewForConfig(settings); err != nil {
		t.Fatal(err)
	}
	return p
}

// follow passes the steps on until the process ends.
func (p *plane) follow(out io.Reader) {
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		p.steps <- lines.Text()
	}
	p.process.Wait()
	close(p.ended)
}

// until waits until all of these lines were said, in whatever order.
func (p *plane) until(t *testing.T, lines ...string) {
	t.Helper()
	deadline := time.After(startDeadline)
	for len(lines) > 0 {
		select {
		case got := <-p.steps:
			lines = slices.DeleteFunc(lines, func(line string) bool { return line == got })
		case <-p.ended:
			t.Fatalf("ended before %q", lines)
		case <-deadline:
			t.Fatalf("no %q in time", lines)
		}
	}
}

// endsCleanly asks for the end. What was done is told by the code, and what
// had to be waited for by the log.
func (p *plane) endsCleanly(t *testing.T) {
	t.Helper()
	if err := p.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(30 * time.Second):
		t.Fatal("still running")
	}
	log, err := os.ReadFile(p.log)
	if err != nil {
		t.Fatal(err)
	}
	if code := p.process.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d:\n%s", code, log[max(0, len(log)-4000):])
	}
	if at := bytes.Index(log, []byte("did not end within")); at >= 0 {
		t.Error("it had to be waited for: ", string(log[at:min(at+200, len(log))]))
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatal(what)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// nearItsEnd is a certificate that ends tomorrow.
func nearItsEnd(t *testing.T) []byte {
	t.Helper()
	key, _, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestControlPlane(t *testing.T) {
	binary := program(t)
	// A long path: the store's socket must not depend on it.
	folder := filepath.Join(t.TempDir(), strings.Repeat("long-", 20))
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	port := freePort(t)
	ctx := context.Background()
	whole := t
	p := start(whole, binary, folder, port)

	for name, mode := range map[string]os.FileMode{
		"kubeconfig.yaml": 0o600, "server/tls/server-ca.key": 0o600, "server/token": 0o600, "server/db/state.db": 0o600, "server/db/state.db-wal": 0o600, "server/cred/admin.kubeconfig": 0o600,
		"server/manifests/coredns.yaml": 0o600,
	} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Error(err)
		} else if mode != 0 && info.Mode().Perm() != mode {
			t.Errorf("%s has mode %v", name, info.Mode())
		}
	}
	eventually(t, "the addons were not applied", func() bool {
		_, err := p.client.AppsV1().Deployments("kube-system").Get(ctx, "coredns", metav1.GetOptions{})
		return err == nil
	})
	roles, err := p.client.RbacV1().ClusterRoles().List(ctx, metav1.ListOptions{LabelSelector: "kubernetes.io/bootstrapping=rbac-defaults"})
	if err != nil || len(roles.Items) < 60 {
		t.Fatalf("%d default roles, %v", len(roles.Items), err)
	}
	if _, err := p.client.RbacV1().RoleBindings("kube-system").Get(ctx, "system:controller:bootstrap-signer", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}

	t.Run("nobody is let in without a certificate", func(t *testing.T) {
		client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		for path, want := range map[string]int{"/api/v1/secrets": 401, "/readyz": 401, "/v1-k3s/config": 401, "/cacerts": 200, "/ping": 200} {
			response, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d%s", port, path))
			if err != nil {
				t.Fatal(err)
			}
			body, _ := io.ReadAll(response.Body)
			response.Body.Close()
			if response.StatusCode != want {
				t.Errorf("%s: %d %s", path, response.StatusCode, body)
			}
			if path == "/cacerts" {
				if block, _ := pem.Decode(body); block == nil {
					t.Error("no authority")
				}
			}
		}
	})

	t.Run("a manifest is applied when it appears and when it changes", func(t *testing.T) {
		file := filepath.Join(folder, "server", "manifests", "own.yaml")
		for _, value := range []string{"one", "two"} {
			content := "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: own, namespace: default}\ndata: {value: " + value + "}\n"
			if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			eventually(t, "not applied: "+value, func() bool {
				found, err := p.client.CoreV1().ConfigMaps("default").Get(ctx, "own", metav1.GetOptions{})
				return err == nil && found.Data["value"] == value
			})
		}
	})

	t.Run("a node joins with the token and with no other", func(t *testing.T) {
		raw, err := os.ReadFile(filepath.Join(folder, "server", "node-token"))
		if err != nil {
			t.Fatal(err)
		}
		token := strings.TrimSpace(string(raw))
		agent := func(name, token string) (string, error) {
			agentFolder := t.TempDir()
			limited, cancel := context.WithTimeout(ctx, 30*time.Second)
			defer cancel()
			// It finds no runc, and ends after it has joined.
			joining := exec.CommandContext(limited, binary, "agent", "--data-dir", agentFolder, "--config", "/dev/null", "--node-name", name,
				"--node-ip", "127.0.0.1", "--server", fmt.Sprintf("https://127.0.0.1:%d", port), "--token", token)
			joining.Env = []string{"PATH=/nowhere"}
			output, err := joining.CombinedOutput()
			_, certificate := os.Stat(filepath.Join(agentFolder, "agent", "client-kubelet.crt"))
			if certificate != nil {
				err = certificate
			} else {
				err = nil
			}
			return string(output), err
		}
		if output, err := agent("second", token); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		if output, err := agent("second", token); err == nil {
			t.Errorf("another machine took the name of the first\n%s", output)
		}
		if output, err := agent("third", token[:len(token)-1]+"x"); err == nil {
			t.Errorf("a wrong secret was good enough\n%s", output)
		}
		if output, err := agent("third", "K10"+strings.Repeat("0", 64)+token[67:]); err == nil || !strings.Contains(output, "token_invalid") {
			t.Errorf("another server's token was good enough\n%s", output)
		}
	})

	t.Run("what was acknowledged survives a kill", func(t *testing.T) {
		for i := range 20 {
			_, err := p.client.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("kept-%d", i)}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := p.client.CoreV1().ConfigMaps("default").Delete(ctx, "kept-0", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := p.process.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-p.ended
		p = start(whole, binary, folder, port)
		for i := 1; i < 20; i++ {
			if _, err := p.client.CoreV1().ConfigMaps("default").Get(ctx, fmt.Sprintf("kept-%d", i), metav1.GetOptions{}); err != nil {
				t.Error(err)
			}
		}
		if _, err := p.client.CoreV1().ConfigMaps("default").Get(ctx, "kept-0", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Error("what was deleted is back:", err)
		}
	})

	t.Run("a certificate that is due is renewed by a restart", func(t *testing.T) {
		file := filepath.Join(folder, "server", "tls", "client-scheduler.crt")
		made, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// As it is after a long sleep: what the process uses has not much longer to live.
		if err := os.WriteFile(file, nearItsEnd(t), 0o600); err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.ended:
		case <-time.After(startDeadline):
			t.Fatal("it runs on with a certificate that is due")
		}
		// The code for which systemd starts it again.
		if code := p.process.ProcessState.ExitCode(); code != 75 {
			t.Fatalf("exit code %d", code)
		}
		p = start(whole, binary, folder, port)
		if _, err := p.client.CoreV1().ConfigMaps("default").Get(ctx, "kept-1", metav1.GetOptions{}); err != nil {
			t.Error(err)
		}
		due, err := pki.Due(filepath.Join(folder, "server", "tls"))
		if renewed, readErr := os.ReadFile(file); err != nil || readErr != nil || len(due) > 0 || bytes.Equal(renewed, made) {
			t.Error("not renewed:", due, err, readErr)
		}
	})

	t.Run("a wanted end is clean", func(t *testing.T) {
		// A watcher that stays keeps nobody up.
		watch, err := p.client.CoreV1().ConfigMaps("default").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer watch.Stop()
		p.endsCleanly(t)
	})
}

func TestAStopIsCleanAtEachStepOfAStart(t *testing.T) {
	binary, folder, port := program(t), t.TempDir(), freePort(t)
	start(t, binary, folder, port).endsCleanly(t)
	for _, step := range []string{"certificates done", "datastore ready", "apiserver listening", "apiserver ready", "scheduler ready", "controllers ready"} {
		t.Run(step, func(t *testing.T) {
			p := launch(t, binary, folder, port)
			p.until(t, "alcove-step "+step)
			p.endsCleanly(t)
		})
	}
	// None of them has cost anything.
	p := start(t, binary, folder, port)
	if _, err := p.client.CoreV1().Namespaces().Get(context.Background(), "kube-system", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
