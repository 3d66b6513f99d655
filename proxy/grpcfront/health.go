package grpcfront

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"mcpgateway/proxy/grpcfront/gatewaypb"
)

const (
	maxWatchers = 64
	healthBeat  = time.Second
)

// health is grpc.health.v1: the gateway's readiness, for everybody.
type health struct {
	healthpb.UnimplementedHealthServer

	ready    func() error
	closing  <-chan struct{}
	watchers chan struct{}
}

func newHealth(ready func() error, closing <-chan struct{}) *health {
	return &health{ready: ready, closing: closing, watchers: make(chan struct{}, maxWatchers)}
}

// Check says whether the gateway is ready.
func (h *health) Check(_ context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	now := h.now(r.GetService())
	if now == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &healthpb.HealthCheckResponse{Status: now}, nil
}

// List says it of every service.
func (h *health) List(context.Context, *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	statuses := map[string]*healthpb.HealthCheckResponse{}
	for _, service := range []string{"", gatewaypb.Gateway_ServiceDesc.ServiceName} {
		statuses[service] = &healthpb.HealthCheckResponse{Status: h.now(service)}
	}
	return &healthpb.HealthListResponse{Statuses: statuses}, nil
}

// Watch says it again when it changes.
func (h *health) Watch(r *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	select {
	case h.watchers <- struct{}{}:
	default:
		return status.Errorf(codes.ResourceExhausted, "there are %d watchers, the limit: use Check", maxWatchers)
	}
	defer func() { <-h.watchers }()
	beat := time.NewTicker(healthBeat)
	defer beat.Stop()
	told := healthpb.HealthCheckResponse_UNKNOWN
	for closing := h.closing; ; {
		if now := h.now(r.GetService()); now != told {
			told = now
			if err := stream.Send(&healthpb.HealthCheckResponse{Status: now}); err != nil {
				return err
			}
		}
		if closing == nil {
			return status.Error(codes.Unavailable, "the gateway is stopping")
		}
		select {
		case <-beat.C:
		case <-closing:
			closing = nil
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

func (h *health) now(service string) healthpb.HealthCheckResponse_ServingStatus {
	if service != "" && service != gatewaypb.Gateway_ServiceDesc.ServiceName {
		return healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	}
	select {
	case <-h.closing:
		return healthpb.HealthCheckResponse_NOT_SERVING
	default:
	}
	if h.ready() != nil {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return healthpb.HealthCheckResponse_SERVING
}
