// Kubernetes builds folders of packaging/kubernetes as kubectl apply -k does, judges what
// comes out by the code of the API server, prints it if it is good, and says what is wrong
// if not.
//
// Runs in: tests, and make kubernetes.
package main

import (
	"errors"
	"fmt"
	"os"

	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: kubernetes FOLDER…")
		os.Exit(2)
	}
	for _, dir := range os.Args[1:] {
		if err := show(dir); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", dir, err)
			os.Exit(1)
		}
	}
}

func show(dir string) error {
	text, err := build(dir)
	if err != nil {
		return err
	}
	if err := errors.Join(judge(text)...); err != nil {
		return err
	}
	_, err = fmt.Printf("---\n%s", text)
	return err
}

// build returns what a folder stands for, as YAML.
func build(dir string) ([]byte, error) {
	options := krusty.MakeDefaultOptions()
	options.Reorder = krusty.ReorderOptionLegacy // as the commands have it
	made, err := krusty.MakeKustomizer(options).Run(filesys.MakeFsOnDisk(), dir)
	if err != nil {
		return nil, err
	}
	return made.AsYaml()
}

// judge returns what is wrong with the documents of a text, each by itself and then together.
func judge(text []byte) []error {
	objects, faults := parse(text)
	if faults != nil {
		return faults
	}
	return together(objects)
}
