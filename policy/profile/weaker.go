package profile

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"mcpgateway/policy"
	"mcpgateway/runtime/hostpath"
)

// Exceeds reports whether b lets a server do something with k that a does not.
func (k *Key) Exceeds(a, b *Profile) bool {
	x, y := k.Of(a), k.Of(b)
	switch k.weaker {
	case "":
		return k.Section == "syscalls" && !reflect.DeepEqual(x.Interface(), y.Interface()) && len(moreCalls(a.Syscalls, b.Syscalls)) > 0
	case "larger":
		return !x.IsZero() && (y.IsZero() || number(y) > number(x))
	case "above":
		return number(y) > number(x)
	case "more":
		return k.more(x, y)
	case "fewer":
		return k.fewer(x, y)
	case "wider":
		return x.Len() > 0 && (y.Len() == 0 || k.more(x, y))
	case "set":
		return !x.Equal(y)
	}
	order := strings.Split(k.weaker, "<")
	return slices.Index(order, fmt.Sprint(y)) > slices.Index(order, fmt.Sprint(x))
}

func number(v reflect.Value) float64 {
	return v.Convert(reflect.TypeFor[float64]()).Float()
}

// more reports whether y has an element that no element of x holds.
func (k *Key) more(x, y reflect.Value) bool {
	for i := range y.Len() {
		if !slices.ContainsFunc(elements(x), func(e any) bool { return k.holds(e, y.Index(i).Interface()) }) {
			return true
		}
	}
	return false
}

// fewer reports whether x has an element that y loosens or lacks.
func (k *Key) fewer(x, y reflect.Value) bool {
	for i := range x.Len() {
		if !slices.ContainsFunc(elements(y), func(e any) bool { return k.holds(x.Index(i).Interface(), e) }) {
			return true
		}
	}
	return false
}

func elements(list reflect.Value) []any {
	out := make([]any, list.Len())
	for i := range out {
		out[i] = list.Index(i).Interface()
	}
	return out
}

// holds reports whether the element b of a list lets a server do nothing that a
// does not.
func (k *Key) holds(a, b any) bool {
	switch b := b.(type) {
	case Mount:
		a := a.(Mount)
		return a.Source == b.Source && a.Target == b.Target && (a.Access == "rw" || b.Access == "ro") && (b.NoExec || !a.NoExec)
	case Tmpfs:
		a := a.(Tmpfs)
		return a.Target == b.Target && b.Size <= a.Size
	case IOMax:
		a := a.(IOMax)
		below := func(a, b int64) bool { return a == 0 || b != 0 && b <= a }
		return a.Device == b.Device && below(int64(a.ReadBPS), int64(b.ReadBPS)) && below(int64(a.WriteBPS), int64(b.WriteBPS)) &&
			below(int64(a.ReadIOPS), int64(b.ReadIOPS)) && below(int64(a.WriteIOPS), int64(b.WriteIOPS))
	case string:
		a := a.(string)
		switch k.String() {
		case "network.allow":
			outer, errA := policy.ParseTarget(a)
			inner, errB := policy.ParseTarget(b)
			return errA == nil && errB == nil && outer.Port == inner.Port &&
				(outer == inner || outer.Below && outer.MatchesName(inner.Name))
		case "network.private":
			outer, errA := policy.ParsePrivate(a)
			inner, errB := policy.ParsePrivate(b)
			return errA == nil && errB == nil && outer.Contains(inner.Addr()) && outer.Bits() <= inner.Bits()
		case "filesystem.hidden":
			return hostpath.Within(a, b)
		case "landlock.read":
			return hostpath.Within(b, a)
		}
	}
	return a == b
}
