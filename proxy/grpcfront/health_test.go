package grpcfront

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"

	"mcpgateway/policy"
)

const ownService = "mcpgateway.v1.Gateway"

// Who supervises the gateway sees without a key whether it is ready.
func TestHealth(t *testing.T) {
	g := newGateway(t, nil)
	starting := errors.New("starting")
	g.ready.Store(&starting)
	client := healthpb.NewHealthClient(g.dial(nil))
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	want := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
			t.Errorf("watch: got %v, %v, want %v", got, err, want)
		}
		if got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{}); err != nil || got.GetStatus() != want {
			t.Errorf("got %v, %v, want %v", got, err, want)
		}
		if got, err := client.List(t.Context(), &healthpb.HealthListRequest{}); err != nil || len(got.GetStatuses()) != 1 || got.GetStatuses()[""].GetStatus() != want {
			t.Errorf("list: got %v, %v, want %v", got, err, want)
		}
		for _, service := range []string{ownService, "echo"} {
			if got, err := client.Check(g.with(t.Context()), &healthpb.HealthCheckRequest{Service: service}); err != nil || got.GetStatus() != want {
				t.Errorf("%q: got %v, %v, want %v", service, got, err, want)
			}
		}
	}
	want(healthpb.HealthCheckResponse_NOT_SERVING)
	g.ready.Store(nil)
	want(healthpb.HealthCheckResponse_SERVING)
	g.stop()
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("stopping: got %v, %v", got, err)
	}
	_, err = watch.Recv()
	wantStatus(t, err, codes.Unavailable, "stopping")
}

// Of servers, and of the service that has them, only those hear who may use them; to
// others they are not there, and a credential that is no good is not ignored.
func TestHealthOfServers(t *testing.T) {
	g := newGateway(t, nil)
	g.unready = map[string]error{"modern": errors.New("it is a crash loop")}
	client := healthpb.NewHealthClient(g.dial(nil))
	as := func(key string) context.Context {
		if key == "" {
			return t.Context()
		}
		return metadata.AppendToOutgoingContext(t.Context(), "x-api-key", key)
	}
	const serving, not, unknown = healthpb.HealthCheckResponse_SERVING, healthpb.HealthCheckResponse_NOT_SERVING, healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	for _, caller := range []struct {
		name, key string
		want      map[string]healthpb.HealthCheckResponse_ServingStatus
		listed    int
	}{
		{"nobody", "", map[string]healthpb.HealthCheckResponse_ServingStatus{"": serving, ownService: unknown, "echo": unknown, "modern": unknown, "other": unknown}, 1},
		{"all servers", g.key, map[string]healthpb.HealthCheckResponse_ServingStatus{"": serving, ownService: serving, "echo": serving, "modern": not, "other": unknown}, len(g.current.Load().Policy.Servers) + 2},
		{"one server", g.other, map[string]healthpb.HealthCheckResponse_ServingStatus{"": serving, ownService: serving, "echo": serving, "modern": unknown, "other": unknown}, 3},
	} {
		for service, want := range caller.want {
			got, err := client.Check(as(caller.key), &healthpb.HealthCheckRequest{Service: service})
			if want == unknown {
				wantStatus(t, err, codes.NotFound, "unknown service")
			} else if err != nil || got.GetStatus() != want {
				t.Errorf("%s, %q: got %v, %v, want %v", caller.name, service, got, err, want)
			}
			watch, err := client.Watch(as(caller.key), &healthpb.HealthCheckRequest{Service: service})
			if err != nil {
				t.Fatal(err)
			}
			if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
				t.Errorf("%s, watch of %q: got %v, %v, want %v", caller.name, service, got, err, want)
			}
		}
		list, err := client.List(as(caller.key), &healthpb.HealthListRequest{})
		if err != nil || len(list.GetStatuses()) != caller.listed {
			t.Errorf("%s: got %q, %v, want %d services", caller.name, slices.Sorted(maps.Keys(list.GetStatuses())), err, caller.listed)
		}
	}
	_, err := client.Check(as("mcpgw_wrong"), &healthpb.HealthCheckRequest{})
	wantStatus(t, err, codes.Unauthenticated, "")
}

// A watch that a key was needed for ends with the key.
func TestHealthWatchEndsWithItsKey(t *testing.T) {
	g := newGateway(t, func(f *Front, _ *policy.Policy) { f.times.beat = 10 * time.Millisecond })
	watch, err := healthpb.NewHealthClient(g.dial(nil)).Watch(g.with(t.Context()), &healthpb.HealthCheckRequest{Service: "echo"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Fatal(err)
	}
	revoked := *g.policy
	revoked.Keys = nil
	g.next(&revoked)
	_, err = watch.Recv()
	wantStatus(t, err, codes.Unauthenticated, "no longer valid")
}

func TestWatchersAreBounded(t *testing.T) {
	g := newGateway(t, nil)
	client := healthpb.NewHealthClient(g.dial(nil))
	for i := range maxWatchers + 1 {
		watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = watch.Recv()
		if i < maxWatchers && err != nil {
			t.Fatal(err)
		}
		if i == maxWatchers {
			wantStatus(t, err, codes.ResourceExhausted, "use Check")
		}
	}
	watch, err := client.Watch(g.with(t.Context()), &healthpb.HealthCheckRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Recv(); err != nil {
		t.Errorf("got %v for a caller with a key", err)
	}
}
