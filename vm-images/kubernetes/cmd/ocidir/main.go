// Command ocidir puts the project's container images together:
//
//	ocidir -recipes vm-images/oci -from BUILT -out DIR [-archives DIR] [NAME...]
//
// DIR then holds NAME/image.json and NAME/rootfs for every recipe.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"alcove/kubernetes/internal/ocidir"
)

func main() {
	recipes := flag.String("recipes", "", "folder with one folder per image that holds its image.json")
	from := flag.String("from", "", "folders with the built files, separated by colons")
	out := flag.String("out", "", "where the unpacked images go")
	archives := flag.String("archives", "", "where archives go, if wanted")
	flag.Parse()
	if *recipes == "" || *out == "" {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(*recipes, *from, *out, *archives, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "ocidir:", err)
		os.Exit(1)
	}
}

func run(recipes, from, out, archives string, names []string) error {
	if len(names) == 0 {
		files, err := filepath.Glob(filepath.Join(recipes, "*", "image.json"))
		if err != nil {
			return err
		}
		for _, file := range files {
			names = append(names, filepath.Base(filepath.Dir(file)))
		}
	}
	for _, name := range names {
		folder := filepath.Join(recipes, name)
		recipe, err := ocidir.ReadRecipe(filepath.Join(folder, "image.json"))
		if err != nil {
			return err
		}
		sources := []string{folder}
		if from != "" {
			sources = append(strings.Split(from, ":"), folder)
		}
		image, err := ocidir.Make(recipe, sources, filepath.Join(out, name))
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Printf("==> image %s %s\n", image.Reference, image.LayerDigest)
		if archives != "" {
			if err := os.MkdirAll(archives, 0o755); err != nil {
				return err
			}
			if err := ocidir.WriteArchive(filepath.Join(out, name), filepath.Join(archives, name+".tar")); err != nil {
				return fmt.Errorf("%s: %w", name, err)
			}
		}
	}
	return nil
}
