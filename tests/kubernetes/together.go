package main

import (
	"fmt"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// secrets are those that people make: what they hold is not for a repository.
func secrets() []string { return []string{"mcp-gateway", "mcp-gateway-keys", "mcp-gateway-tls"} }

// parts are the objects of a text by their kinds.
type parts struct {
	all    map[string]bool // kind/name
	sets   []*appsv1.StatefulSet
	faults []error
}

// together judges what the API server takes without a word: names that lead nowhere, and
// selectors that select nothing.
func together(objects []runtime.Object) []error {
	p := &parts{all: map[string]bool{}}
	for _, object := range objects {
		p.all[object.GetObjectKind().GroupVersionKind().Kind+"/"+name(object)] = true
		if set, ok := object.(*appsv1.StatefulSet); ok {
			p.sets = append(p.sets, set)
		}
	}
	for _, object := range objects {
		p.judge(object, objects)
	}
	return p.faults
}

func name(object runtime.Object) string {
	m, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return m.GetName()
}

func (p *parts) fault(of runtime.Object, format string, args ...any) {
	p.faults = append(p.faults, fmt.Errorf("%s/%s: %s", of.GetObjectKind().GroupVersionKind().Kind, name(of), fmt.Sprintf(format, args...)))
}

// exists wants an object of the kind.
func (p *parts) exists(of runtime.Object, kind, name string) {
	if !p.all[kind+"/"+name] {
		p.fault(of, "there is no %s %q", kind, name)
	}
}

func (p *parts) judge(object runtime.Object, objects []runtime.Object) {
	if m, err := meta.Accessor(object); err == nil && m.GetNamespace() != "" && m.GetNamespace() != "argocd" {
		p.exists(object, "Namespace", m.GetNamespace())
	}
	switch o := object.(type) {
	case *appsv1.StatefulSet:
		p.set(o)
	case *corev1.Service:
		p.selects(o, &metav1.LabelSelector{MatchLabels: o.Spec.Selector})
		for _, port := range o.Spec.Ports {
			p.port(o, port.TargetPort)
		}
	case *policyv1.PodDisruptionBudget:
		p.selects(o, o.Spec.Selector)
	case *networkingv1.NetworkPolicy:
		p.selects(o, &o.Spec.PodSelector)
		for _, rule := range o.Spec.Ingress {
			for _, port := range rule.Ports {
				p.port(o, *port.Port)
			}
		}
	case *autoscalingv2.HorizontalPodAutoscaler:
		p.exists(o, o.Spec.ScaleTargetRef.Kind, o.Spec.ScaleTargetRef.Name)
	case *unstructured.Unstructured:
		p.custom(o, objects)
	}
}

// set wants what a set's pods name, as the kubelet would.
func (p *parts) set(set *appsv1.StatefulSet) {
	p.exists(set, "Service", set.Spec.ServiceName)
	pod := set.Spec.Template.Spec
	p.exists(set, "ServiceAccount", pod.ServiceAccountName)
	for _, volume := range pod.Volumes {
		if c := volume.ConfigMap; c != nil {
			p.exists(set, "ConfigMap", c.Name)
		}
		if s := volume.Secret; s != nil && !slices.Contains(secrets(), s.SecretName) {
			p.fault(set, "nobody makes the Secret %q", s.SecretName)
		}
		if c := volume.PersistentVolumeClaim; c != nil {
			p.exists(set, "PersistentVolumeClaim", c.ClaimName)
		}
	}
	for _, spread := range pod.TopologySpreadConstraints {
		p.selects(set, spread.LabelSelector)
	}
	if a := pod.Affinity; a != nil && a.PodAntiAffinity != nil {
		for _, term := range a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
			p.selects(set, term.LabelSelector)
		}
	}
	if p.all["HorizontalPodAutoscaler/"+set.Name] && *set.Spec.Replicas != 1 {
		p.fault(set, "both it and the autoscaler say how many there are") // 1 is the default
	}
}

// selects wants the pods of a set to be selected.
func (p *parts) selects(of runtime.Object, selector *metav1.LabelSelector) {
	wanted, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		p.fault(of, "selector: %v", err)
		return
	}
	if !slices.ContainsFunc(p.sets, func(s *appsv1.StatefulSet) bool { return wanted.Matches(labels.Set(s.Spec.Template.Labels)) }) {
		p.fault(of, "its selector %q matches no pod", wanted)
	}
}

// port wants a container to have the port.
func (p *parts) port(of runtime.Object, wanted intstr.IntOrString) {
	for _, set := range p.sets {
		for _, container := range set.Spec.Template.Spec.Containers {
			if slices.ContainsFunc(container.Ports, func(has corev1.ContainerPort) bool {
				return wanted.Type == intstr.String && has.Name == wanted.StrVal || wanted.Type == intstr.Int && has.ContainerPort == wanted.IntVal
			}) {
				return
			}
		}
	}
	p.fault(of, "no container has the port %q", wanted.String())
}

// custom wants what objects of custom kinds name.
func (p *parts) custom(o *unstructured.Unstructured, objects []runtime.Object) {
	switch o.GetKind() {
	case "ServiceMonitor":
		p.monitor(o, objects)
	case "PeerAuthentication":
		matched, _, err := unstructured.NestedStringMap(o.Object, "spec", "selector", "matchLabels")
		if err != nil {
			p.fault(o, "selector: %v", err)
		}
		p.selects(o, &metav1.LabelSelector{MatchLabels: matched})
	}
}

// monitor wants a service for the monitor, with the ports that it scrapes.
func (p *parts) monitor(o *unstructured.Unstructured, objects []runtime.Object) {
	var wanted struct {
		Spec struct {
			Selector  metav1.LabelSelector `json:"selector"`
			Endpoints []struct {
				Port string `json:"port"`
			} `json:"endpoints"`
		} `json:"spec"`
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, &wanted); err != nil {
		p.fault(o, "%v", err)
		return
	}
	selector, err := metav1.LabelSelectorAsSelector(&wanted.Spec.Selector)
	if err != nil {
		p.fault(o, "selector: %v", err)
		return
	}
	var ports []string
	for _, object := range objects {
		if s, ok := object.(*corev1.Service); ok && selector.Matches(labels.Set(s.Labels)) {
			for _, port := range s.Spec.Ports {
				ports = append(ports, port.Name)
			}
		}
	}
	for _, endpoint := range wanted.Spec.Endpoints {
		if !slices.Contains(ports, endpoint.Port) {
			p.fault(o, "no service that its selector %q matches has the port %q", selector, endpoint.Port)
		}
	}
}
