package tests

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Licences that ask for no more than their text being passed on, or (MPL) stay in their files: by words of their text.
var fits = []string{
	"Apache License Version 2.0",
	"licensed under the Apache License 2.0",
	"Permission is hereby granted, free of charge",                     // MIT
	"Redistribution and use in source and binary forms",                // BSD
	"Permission to use, copy, modify, and/or distribute this software", // ISC
	"Permission to use, copy, modify, and distribute this software",    // ISC, older
	"Mozilla Public License Version 2.0",
	"Mozilla Public License, version 2.0",
	"CC0 1.0 Universal",
}

// Every module that is in a program of the image, read from the programs themselves, has a licence that fits ours.
func TestLicencesOfWhatTheImageHoldsFitOurs(t *testing.T) {
	k3s := os.Getenv("K3S_BINARY")
	if k3s == "" {
		t.Skip("K3S_BINARY names no program")
	}
	folder := filepath.Dir(k3s)
	programs := []string{k3s}
	for _, name := range []string{"kubectl", "containerd", "containerd-shim-runc-v2", "ctr", "coredns", "metrics-server"} {
		programs = append(programs, filepath.Join(folder, name))
	}
	plugins, err := filepath.Glob(filepath.Join(folder, "cni", "*"))
	if err != nil || len(plugins) == 0 {
		t.Fatalf("no CNI plugins: %v", err)
	}
	var modules []string
	for _, program := range append(programs, plugins...) {
		info, err := buildinfo.ReadFile(program)
		if err != nil {
			t.Fatalf("%s: %v", program, err)
		}
		for _, module := range append(info.Deps, &info.Main) {
			if module.Replace != nil {
				module = module.Replace
			}
			// Our own have no version.
			if module.Version != "" && module.Version != "(devel)" {
				modules = append(modules, module.Path+"@"+module.Version)
			}
		}
	}
	slices.Sort(modules)
	modules = slices.Compact(modules)
	if len(modules) < 100 {
		t.Fatalf("only these modules were found: %v", modules)
	}

	// What the build has fetched is only looked up.
	command := exec.Command("go", append([]string{"mod", "download", "-json"}, modules...)...)
	command.Dir = t.TempDir()
	// The build has held them against its own sums.
	command.Env = append(os.Environ(), "GOSUMDB=off")
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatalf("the modules can't be looked up: %v", err)
	}
	for answers := json.NewDecoder(bytes.NewReader(out)); answers.More(); {
		var module struct{ Path, Version, Dir string }
		if err := answers.Decode(&module); err != nil {
			t.Fatal(err)
		}
		if !licenceFits(t, module.Dir) {
			t.Errorf("%s %s: no licence that fits", module.Path, module.Version)
		}
	}
}

func licenceFits(t *testing.T, folder string) bool {
	t.Helper()
	entries, err := os.ReadDir(folder)
	if err != nil {
		t.Error(err)
	}
	for _, entry := range entries {
		name := strings.ToUpper(entry.Name())
		if entry.IsDir() || !strings.HasPrefix(name, "LICEN") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		content, err := os.ReadFile(filepath.Join(folder, entry.Name()))
		if err != nil {
			t.Error(err)
		}
		text := strings.Join(strings.Fields(string(content)), " ")
		if slices.ContainsFunc(fits, func(words string) bool { return strings.Contains(strings.ToLower(text), strings.ToLower(words)) }) {
			return true
		}
	}
	return false
}
