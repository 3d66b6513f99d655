package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	podapi "k8s.io/kubernetes/pkg/api/pod"
	"k8s.io/kubernetes/pkg/apis/apps"
	_ "k8s.io/kubernetes/pkg/apis/apps/install"
	appsvalidation "k8s.io/kubernetes/pkg/apis/apps/validation"
	"k8s.io/kubernetes/pkg/apis/autoscaling"
	_ "k8s.io/kubernetes/pkg/apis/autoscaling/install"
	autoscalingvalidation "k8s.io/kubernetes/pkg/apis/autoscaling/validation"
	"k8s.io/kubernetes/pkg/apis/core"
	_ "k8s.io/kubernetes/pkg/apis/core/install"
	corevalidation "k8s.io/kubernetes/pkg/apis/core/validation"
	"k8s.io/kubernetes/pkg/apis/networking"
	_ "k8s.io/kubernetes/pkg/apis/networking/install"
	networkingvalidation "k8s.io/kubernetes/pkg/apis/networking/validation"
	"k8s.io/kubernetes/pkg/apis/policy"
	_ "k8s.io/kubernetes/pkg/apis/policy/install"
	policyvalidation "k8s.io/kubernetes/pkg/apis/policy/validation"
	"k8s.io/kubernetes/pkg/capabilities"
	"k8s.io/kubernetes/pkg/features"
	sigsyaml "sigs.k8s.io/yaml"
)

// decoder knows the kinds of Kubernetes itself, and no field that they don't have.
func decoder() runtime.Decoder {
	return serializer.NewCodecFactory(legacyscheme.Scheme, serializer.EnableStrict).UniversalDeserializer()
}

// parse returns the objects of a text, with the cluster's defaults, and what the API server
// would say of each. Custom ones stay as they are written.
func parse(text []byte) (objects []runtime.Object, faults []error) {
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, faults
		}
		if err != nil {
			return objects, append(faults, err)
		}
		object, name, err := parseOne(document)
		if err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", name, err))
			continue
		}
		objects = append(objects, object)
	}
}

func parseOne(document []byte) (object runtime.Object, name string, err error) {
	var meta metav1.PartialObjectMetadata
	if err := sigsyaml.Unmarshal(document, &meta); err != nil {
		return nil, "a document", err
	}
	kind := meta.GroupVersionKind()
	name = kind.Kind + "/" + meta.Name
	if !legacyscheme.Scheme.IsGroupRegistered(kind.Group) {
		object, err := parseCustom(document, kind)
		return object, name, err
	}
	object, _, err = decoder().Decode(document, nil, nil)
	if err != nil {
		return nil, name, err
	}
	legacyscheme.Scheme.Default(object)
	faults := legacyscheme.Scheme.Validate(context.Background(), map[string]bool{string(features.HPAScaleToZero): false}, object)
	internal, err := legacyscheme.Scheme.ConvertToVersion(object, schema.GroupVersion{Group: kind.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil, name, err
	}
	byHand, err := validate(internal)
	return object, name, errors.Join(err, append(faults, byHand...).ToAggregate())
}

// validate is what the API server does with a new object, by its kind, if it was told
// --allow-privileged, as all are that run a cluster's own network.
func validate(object runtime.Object) (field.ErrorList, error) {
	capabilities.Initialize(capabilities.Capabilities{AllowPrivileged: true}) // once: what comes later counts for nothing
	switch o := object.(type) {
	case *core.Namespace:
		return corevalidation.ValidateNamespace(o), nil
	case *core.ServiceAccount:
		return corevalidation.ValidateServiceAccount(o), nil
	case *core.ConfigMap:
		return corevalidation.ValidateConfigMap(o), nil
	case *core.Service:
		if o.Spec.ClusterIP == core.ClusterIPNone { // the server fills this in first
			o.Spec.ClusterIPs = []string{core.ClusterIPNone}
		}
		return corevalidation.ValidateServiceCreate(o), nil
	case *apps.StatefulSet:
		return appsvalidation.ValidateStatefulSet(o, appsvalidation.StatefulSetValidationOptions{}, podapi.GetValidationOptionsFromPodTemplate(&o.Spec.Template, nil)), nil
	case *policy.PodDisruptionBudget:
		return policyvalidation.ValidatePodDisruptionBudget(o, policyvalidation.PodDisruptionBudgetValidationOptions{}), nil
	case *networking.NetworkPolicy:
		return networkingvalidation.ValidateNetworkPolicy(o, networkingvalidation.NetworkPolicyValidationOptions{}), nil
	case *autoscaling.HorizontalPodAutoscaler:
		return autoscalingvalidation.ValidateHorizontalPodAutoscaler(o, autoscalingvalidation.HorizontalPodAutoscalerSpecValidationOptions{MinReplicasLowerBound: 1}), nil
	}
	return nil, fmt.Errorf("%T: nothing here judges that kind: add it", object)
}
