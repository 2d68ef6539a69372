package release

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// What cmd/k3s/generic.go follows step by step. When upstream's has changed,
// compare the two, bring ours in line, and write the new sum here.
var followed = []struct{ module, file, function, sum string }{
	{"k8s.io/kubernetes", "cmd/kube-apiserver/app/config.go", "NewConfig", "f014c3486bca0f41"},
	{"k8s.io/kubernetes", "pkg/controlplane/apiserver/config.go", "BuildGenericConfig", "4956e63f64cacec9"},
	{"k8s.io/apiserver", "pkg/server/options/serving_with_loopback.go", "applyTo", "e0385b45ccd52e1f"},
}

func TestUpstreamIsAsItWasWhenThisWasWritten(t *testing.T) {
	for _, f := range followed {
		// Fetches the module where nothing has been built yet.
		output, err := exec.Command("go", "mod", "download", "-json", f.module).Output()
		if err != nil {
			t.Fatal(f.module, err)
		}
		var module struct{ Dir string }
		if err := json.Unmarshal(output, &module); err != nil {
			t.Fatal(f.module, err)
		}
		path := filepath.Join(module.Dir, f.file)
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		files := token.NewFileSet()
		parsed, err := parser.ParseFile(files, path, raw, 0)
		if err != nil {
			t.Fatal(err)
		}
		found := ""
		for _, declaration := range parsed.Decls {
			if function, ok := declaration.(*ast.FuncDecl); ok && function.Name.Name == f.function {
				text := raw[files.Position(function.Pos()).Offset:files.Position(function.End()).Offset]
				sum := sha256.Sum256(text)
				found = hex.EncodeToString(sum[:8])
			}
		}
		if found != f.sum {
			t.Errorf("%s %s of %s has changed: its sum is %q; bring cmd/k3s/generic.go in line", f.file, f.function, f.module, found)
		}
	}
}
