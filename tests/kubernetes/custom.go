package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	extensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	structural "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/listtype"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	sigsyaml "sigs.k8s.io/yaml"
)

// source is a module that has the definitions of custom kinds. They are read from the
// module's files, so that none of its code is needed.
type source struct {
	module, sum string // sum is its checksum, as in a go.sum
	files       []string
}

func sources() map[string]source {
	const operator = "example/prometheus-operator-crd/monitoring.coreos.com_"
	istio := source{"istio.io/api@v1.32.0", "h1:37mJvg9I0biYZAEQF+MATs4FNeCpXEIVO3LFpVb6iNM=", []string{"kubernetes/customresourcedefinitions.gen.yaml"}}
	return map[string]source{
		"monitoring.coreos.com": {"github.com/prometheus-operator/prometheus-operator@v0.85.0", "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
			[]string{operator + "servicemonitors.yaml", operator + "prometheusrules.yaml"}},
		"argoproj.io": {"github.com/argoproj/argo-cd/v3@v3.4.13", "h1:kmnF4nE5SQ83OhtdX6DMmLSpH0eRIa1gNYdCLNHqB+A=",
			[]string{"manifests/crds/application-crd.yaml", "manifests/crds/applicationset-crd.yaml"}},
		"security.istio.io":   istio,
		"networking.istio.io": istio,
	}
}

// fetch returns the folder of the module.
func (s source) fetch() (string, error) {
	out, err := exec.Command("go", "mod", "download", "-json", s.module).Output()
	var found struct{ Dir, Sum, Error string }
	if bad := json.Unmarshal(out, &found); bad != nil || found.Error != "" || err != nil {
		return "", fmt.Errorf("fetch %s: %w", s.module, errors.Join(err, bad, errors.New(found.Error)))
	}
	if found.Sum != s.sum {
		return "", fmt.Errorf("fetch %s: its checksum is %s, want %s", s.module, found.Sum, s.sum)
	}
	return found.Dir, nil
}

// definition is what the API server makes of the definition of a custom kind.
type definition struct {
	fields *structural.Structural
	values validation.SchemaValidator
}

// definitions are those of a group, by version and kind.
var definitions = sync.OnceValues(func() (map[schema.GroupVersionKind]definition, error) {
	all, read := map[schema.GroupVersionKind]definition{}, map[string]bool{}
	for _, s := range sources() {
		if read[s.module] {
			continue
		}
		read[s.module] = true
		dir, err := s.fetch()
		if err != nil {
			return nil, err
		}
		for _, name := range s.files {
			text, err := os.ReadFile(filepath.Join(dir, name))
			if err == nil {
				err = define(all, string(text))
			}
			if err != nil {
				return nil, fmt.Errorf("read definitions of %s: %w", s.module, err)
			}
		}
	}
	return all, nil
})

// define adds the kinds that a text defines.
func define(all map[schema.GroupVersionKind]definition, text string) error {
	for document := range strings.SplitSeq(text, "\n---\n") {
		var d extensionsv1.CustomResourceDefinition
		if err := sigsyaml.Unmarshal([]byte(document), &d); err != nil {
			return err
		}
		for _, version := range d.Spec.Versions {
			made, err := newDefinition(version.Schema)
			if err != nil {
				return fmt.Errorf("%s: %w", d.Name, err)
			}
			all[schema.GroupVersionKind{Group: d.Spec.Group, Version: version.Name, Kind: d.Spec.Names.Kind}] = made
		}
	}
	return nil
}

func newDefinition(s *extensionsv1.CustomResourceValidation) (d definition, err error) {
	var internal apiextensions.CustomResourceValidation
	if err := extensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(s, &internal, nil); err != nil {
		return d, err
	}
	if d.fields, err = structural.NewStructural(internal.OpenAPIV3Schema); err != nil {
		return d, err
	}
	d.values, _, err = validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	return d, err
}

// parseCustom reads an object of a kind that Kubernetes itself does not have, and judges it
// by the kind's definition: no unknown field, and each value as it has to be.
func parseCustom(document []byte, kind schema.GroupVersionKind) (*unstructured.Unstructured, error) {
	if _, known := sources()[kind.Group]; !known {
		return nil, fmt.Errorf("no kind %s is known", kind)
	}
	all, err := definitions()
	if err != nil {
		return nil, err
	}
	d, known := all[kind]
	if !known {
		return nil, fmt.Errorf("no kind %s is known", kind)
	}
	object := &unstructured.Unstructured{}
	if err := sigsyaml.UnmarshalStrict(document, &object.Object); err != nil {
		return nil, err
	}
	faults := append(validation.ValidateCustomResource(nil, object.Object, d.values),
		listtype.ValidateListSetsAndMaps(nil, d.fields, object.Object)...).ToAggregate()
	pruned := object.DeepCopy()
	unknown := pruning.PruneWithOptions(pruned.Object, d.fields, true, structural.UnknownFieldPathOptions{TrackUnknownFieldPaths: true})
	if len(unknown) > 0 {
		return object, errors.Join(faults, fmt.Errorf("unknown field %q", unknown))
	}
	if faults != nil {
		return object, faults
	}
	return object, nil
}
