package pki

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func names() ServerNames {
	return ServerNames{ServiceIP: "10.43.0.1", ClusterDomain: "cluster.local", Hosts: []string{"alcove", "10.0.2.15"}}
}

func at(t *testing.T, now time.Time) {
	t.Helper()
	clock = func() time.Time { return now }
	t.Cleanup(func() { clock = time.Now })
}

func TestEnsureServerMakesOnceAndRenewsInTime(t *testing.T) {
	folder := t.TempDir()
	authorities, made, err := EnsureServer(folder, names())
	if err != nil || made != 9 {
		t.Fatal(made, err)
	}
	if _, made, err = EnsureServer(folder, names()); err != nil || made != 0 {
		t.Fatal("a second start made certificates anew:", made, err)
	}
	raw, err := os.ReadFile(filepath.Join(folder, "serving-kube-apiserver.crt"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(authorities.Server.Certificate)
	for _, host := range []string{"kubernetes.default.svc.cluster.local", "127.0.0.1", "10.43.0.1", "10.0.2.15", "alcove"} {
		if _, err := certificate.Verify(x509.VerifyOptions{DNSName: host, Roots: pool}); err != nil {
			t.Error(host, err)
		}
	}
	if info, err := os.Stat(filepath.Join(folder, "server-ca.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal("the key of the authority is readable by others", err)
	}
	at(t, time.Now().Add(LeafLifetime-RenewBefore-time.Hour))
	if _, made, err = EnsureServer(folder, names()); err != nil || made != 0 {
		t.Fatal("renewed too early:", made, err)
	}
	at(t, time.Now().Add(LeafLifetime-RenewBefore+time.Hour))
	if due, err := Due(folder); err != nil || len(due) != 9 {
		t.Fatal(due, err)
	}
	if _, made, err = EnsureServer(folder, names()); err != nil || made != 9 {
		t.Fatal("not renewed:", made, err)
	}
	if due, err := Due(folder); err != nil || len(due) != 0 {
		t.Fatal(due, err)
	}
}

func TestANewNameMakesOnlyTheServingCertificateAnew(t *testing.T) {
	folder := t.TempDir()
	if _, _, err := EnsureServer(folder, names()); err != nil {
		t.Fatal(err)
	}
	more := names()
	more.Hosts = append(more.Hosts, "cloud.example")
	if _, made, err := EnsureServer(folder, more); err != nil || made != 1 {
		t.Fatal(made, err)
	}
}

func TestADamagedCertificateIsMadeAnew(t *testing.T) {
	folder := t.TempDir()
	if _, _, err := EnsureServer(folder, names()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "client-admin.crt"), []byte("cut o"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(folder, "client-scheduler.key"), 10); err != nil {
		t.Fatal(err)
	}
	if _, made, err := EnsureServer(folder, names()); err != nil || made != 2 {
		t.Fatal(made, err)
	}
}

func TestAClockThatIsPutBackLeavesEverythingValid(t *testing.T) {
	folder := t.TempDir()
	at(t, time.Now().Add(30*24*time.Hour))
	ahead, made, err := EnsureServer(folder, names())
	if err != nil || made != 9 {
		t.Fatal(made, err)
	}
	at(t, time.Now())
	right, made, err := EnsureServer(folder, names())
	if err != nil || made != 0 || !right.Server.Certificate.Equal(ahead.Server.Certificate) {
		t.Fatal(made, err)
	}
	raw, err := os.ReadFile(filepath.Join(folder, "serving-kube-apiserver.crt"))
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := ParseCertificate(raw)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(right.Server.Certificate)
	if _, err := certificate.Verify(x509.VerifyOptions{Roots: pool, CurrentTime: time.Now()}); err != nil {
		t.Fatal(err)
	}
}

func TestAnAuthorityThatIsNotValidYetIsSaid(t *testing.T) {
	path := filepath.Join(t.TempDir(), "server-ca")
	if _, err := LoadAuthority(path, "mine"); err != nil {
		t.Fatal(err)
	}
	at(t, validSince.Add(-time.Hour))
	if _, err := LoadAuthority(path, "mine"); err == nil || !strings.Contains(err.Error(), "not valid before 2000-01-01") {
		t.Fatal(err)
	}
}

func TestOwnAuthoritiesAreUsed(t *testing.T) {
	ours, theirs := t.TempDir(), t.TempDir()
	own, err := LoadAuthority(filepath.Join(theirs, "server-ca"), "mine")
	if err != nil {
		t.Fatal(err)
	}
	for _, ending := range []string{".crt", ".key"} {
		raw, err := os.ReadFile(filepath.Join(theirs, "server-ca"+ending))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(ours, "server-ca"+ending), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	authorities, _, err := EnsureServer(ours, names())
	if err != nil || !authorities.Server.Certificate.Equal(own.Certificate) {
		t.Fatal("the owner's authority is not used", err)
	}
	if err := os.Remove(filepath.Join(ours, "server-ca.crt")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := EnsureServer(ours, names()); err == nil || !strings.Contains(err.Error(), "without") {
		t.Fatal("half an authority was replaced silently:", err)
	}
}

func TestToken(t *testing.T) {
	folder := t.TempDir()
	first, err := EnsureToken(folder, "", []byte("ca"))
	if err != nil || len(first.Secret) != 32 {
		t.Fatal(first, err)
	}
	again, err := EnsureToken(folder, "", []byte("ca"))
	if err != nil || again != first {
		t.Fatal("the token changed", err)
	}
	parsed, err := ParseToken(first.String())
	if err != nil || parsed != first || parsed.CAHash != CAHash([]byte("ca")) {
		t.Fatal(parsed, err)
	}
	if !first.Matches("node", first.Secret) || !first.Matches("server", first.Secret) || first.Matches("node", "wrong") || first.Matches("admin", first.Secret) {
		t.Fatal("matching is wrong")
	}
	if _, err := EnsureToken(folder, "another", []byte("ca")); err == nil {
		t.Fatal("another token was taken silently")
	}
	if target, err := os.Readlink(filepath.Join(folder, "node-token")); err != nil || target != "token" {
		t.Fatal(target, err)
	}
	if info, err := os.Stat(filepath.Join(folder, "token")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal("the token is readable by others", err)
	}
	for _, text := range []string{"", "K10abc::server:x", "K10" + strings.Repeat("z", 64) + "::server:x", first.String()[:70]} {
		if _, err := ParseToken(text); err == nil && strings.Contains(text, "::") {
			t.Errorf("%q was taken", text)
		}
	}
}
