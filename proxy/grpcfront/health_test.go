package grpcfront

import (
	"errors"
	"testing"

	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// Who supervises the gateway sees without a key whether it is ready.
func TestHealth(t *testing.T) {
	g := newGateway(t, nil)
	starting := errors.New("starting")
	g.ready.Store(&starting)
	client := healthpb.NewHealthClient(g.dial(nil))
	watch, err := client.Watch(t.Context(), &healthpb.HealthCheckRequest{Service: "mcpgateway.v1.Gateway"})
	if err != nil {
		t.Fatal(err)
	}
	want := func(want healthpb.HealthCheckResponse_ServingStatus) {
		t.Helper()
		if got, err := watch.Recv(); err != nil || got.GetStatus() != want {
			t.Errorf("watch: got %v, %v, want %v", got, err, want)
		}
		for _, service := range []string{"", "mcpgateway.v1.Gateway"} {
			if got, err := client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: service}); err != nil || got.GetStatus() != want {
				t.Errorf("%q: got %v, %v, want %v", service, got, err, want)
			}
		}
		if got, err := client.List(t.Context(), &healthpb.HealthListRequest{}); err != nil || got.GetStatuses()["mcpgateway.v1.Gateway"].GetStatus() != want {
			t.Errorf("list: got %v, %v, want %v", got, err, want)
		}
	}
	want(healthpb.HealthCheckResponse_NOT_SERVING)
	g.ready.Store(nil)
	want(healthpb.HealthCheckResponse_SERVING)
	_, err = client.Check(t.Context(), &healthpb.HealthCheckRequest{Service: "other"})
	wantStatus(t, err, codes.NotFound, "unknown service")
	g.stop()
	if got, err := watch.Recv(); err != nil || got.GetStatus() != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("stopping: got %v, %v", got, err)
	}
	_, err = watch.Recv()
	wantStatus(t, err, codes.Unavailable, "stopping")
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
}
