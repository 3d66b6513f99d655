package grpcfront

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"mcpgateway/policy"
	"mcpgateway/proxy/grpcfront/gatewaypb"
)

const (
	maxWatchers = 64  // of those that nobody knows
	maxListed   = 100 // servers in one answer
	healthBeat  = time.Second
)

// health is grpc.health.v1: whether the gateway is ready, for everybody, as the service
// "". Callers who show a good credential learn of the gateway's own service and of the
// servers that they may use, too; to others these are not there.
type health struct {
	healthpb.UnimplementedHealthServer

	front    *Front
	watchers chan struct{}
}

func newHealth(f *Front) *health {
	return &health{front: f, watchers: make(chan struct{}, maxWatchers)}
}

// callerOf is the caller of a health check; nil for one without a credential.
func callerOf(ctx context.Context) *admitted {
	a, _ := ctx.Value(admittedKey{}).(*admitted)
	return a
}

// Check says whether a service is ready.
func (h *health) Check(ctx context.Context, r *healthpb.HealthCheckRequest) (*healthpb.HealthCheckResponse, error) {
	now := h.now(callerOf(ctx), r.GetService())
	if now == healthpb.HealthCheckResponse_SERVICE_UNKNOWN {
		return nil, status.Error(codes.NotFound, "unknown service")
	}
	return &healthpb.HealthCheckResponse{Status: now}, nil
}

// List says it of every service that the caller may know of.
func (h *health) List(ctx context.Context, _ *healthpb.HealthListRequest) (*healthpb.HealthListResponse, error) {
	caller, services := callerOf(ctx), []string{""}
	if caller != nil {
		servers, _ := h.front.current().Gate.Resolve(caller.caller, policy.Scope{}) // an error says that there are none
		if len(servers) > maxListed {
			return nil, status.Errorf(codes.ResourceExhausted, "there are %d servers, more than a list has: use Check", len(servers))
		}
		services = append(append(services, gatewaypb.Gateway_ServiceDesc.ServiceName), servers...)
	}
	statuses := map[string]*healthpb.HealthCheckResponse{}
	for _, service := range services {
		statuses[service] = &healthpb.HealthCheckResponse{Status: h.now(caller, service)}
	}
	return &healthpb.HealthListResponse{Statuses: statuses}, nil
}

// Watch says it again when it changes.
func (h *health) Watch(r *healthpb.HealthCheckRequest, stream grpc.ServerStreamingServer[healthpb.HealthCheckResponse]) error {
	caller := callerOf(stream.Context())
	if caller == nil {
		select {
		case h.watchers <- struct{}{}:
		default:
			return status.Errorf(codes.ResourceExhausted, "there are %d watchers, the limit: use Check", maxWatchers)
		}
		defer func() { <-h.watchers }()
	}
	beat, renew := time.NewTicker(healthBeat), time.NewTicker(h.front.times.beat)
	defer beat.Stop()
	defer renew.Stop()
	told := healthpb.HealthCheckResponse_UNKNOWN
	for closing := h.front.closing; ; {
		if now := h.now(caller, r.GetService()); now != told {
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
		case <-renew.C:
			if caller != nil && !h.front.stillAllowed(caller, policy.Scope{}) {
				return status.Error(codes.Unauthenticated, "the key is no longer valid")
			}
		case <-closing:
			closing = nil
		case <-stream.Context().Done():
			return status.FromContextError(stream.Context().Err()).Err()
		}
	}
}

// now is the state of a service to a caller, who is nil if nobody knows them.
func (h *health) now(caller *admitted, service string) healthpb.HealthCheckResponse_ServingStatus {
	switch {
	case service == "":
	case caller == nil:
		return healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	case service == gatewaypb.Gateway_ServiceDesc.ServiceName:
	case h.front.current().Gate.Authorize(caller.caller, policy.Scope{Server: service}) != nil:
		return healthpb.HealthCheckResponse_SERVICE_UNKNOWN
	default:
		if why, known := h.front.ready.Server(service); why != nil || !known {
			return healthpb.HealthCheckResponse_NOT_SERVING
		}
	}
	select {
	case <-h.front.closing:
		return healthpb.HealthCheckResponse_NOT_SERVING
	default:
	}
	if h.front.ready.Gateway() != nil {
		return healthpb.HealthCheckResponse_NOT_SERVING
	}
	return healthpb.HealthCheckResponse_SERVING
}
