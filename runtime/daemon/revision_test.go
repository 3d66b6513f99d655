package daemon

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"mcpgateway/policy/profile"
	"mcpgateway/runtime/config"
	"mcpgateway/runtime/secret"
)

// What the proxy does with instances is no reason to start one anew. Everything else
// is, and so is what will be added to a server's keys.
func TestRevision(t *testing.T) {
	t.Parallel()
	proxysOwn := []string{"Enabled", "Eager", "Instances", "Replicas", "Strategy", "Warm", "Prepared", "Timeout", "MaxTimeout", "IdleTimeout", "FreezeAfter", "ReclaimAfter",
		"RateLimit", "MaxConcurrent", "CircuitBreaker", "Retry", "Tools", "ToolPins", "OnCrash", "Restart", "SLO"}
	server := func() config.Server {
		return config.Server{Env: map[string]secret.Value{"A": secret.New("b")}, Sandbox: new(profile.Effective)}
	}
	first := revision(server(), "salt")
	if again := revision(server(), "salt"); again != first {
		t.Errorf("the same server: got %s and %s", first, again)
	}
	if other := revision(server(), "pepper"); other == first {
		t.Error("got the same revision with another salt")
	}
	for _, field := range reflect.VisibleFields(reflect.TypeFor[config.Server]()) {
		s := server()
		value := reflect.ValueOf(&s).Elem().FieldByIndex(field.Index)
		switch field.Name {
		case "Env":
			value.Set(reflect.ValueOf(map[string]secret.Value{"A": secret.New("c")}))
		case "Sandbox":
			s.Sandbox.Network.Allow = []string{"example.com:443"}
		default:
			change(t, value)
		}
		if got, want := revision(s, "salt") != first, !slices.Contains(proxysOwn, field.Name); got != want {
			t.Errorf("%s has changed: got another revision: %t, want %t", field.Name, got, want)
		}
	}
	moved := server()
	moved.Sandbox.Origin = map[string]string{"limits.cpu_max": "file:7"}
	if got := revision(moved, "salt"); got != first {
		t.Error("a line was put before the server: got another revision")
	}
}

// change gives a value another than zero.
func change(t *testing.T, v reflect.Value) {
	t.Helper()
	switch v.Kind() {
	case reflect.String:
		v.SetString("changed")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(time.Hour))
	case reflect.Float64:
		v.SetFloat(0.5)
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("a"), reflect.Zero(v.Type().Elem()))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
	case reflect.Struct:
		change(t, v.Field(0))
	default:
		t.Fatalf("a field of kind %s: say how it changes", v.Kind())
	}
}
