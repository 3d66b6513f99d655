// Package grpcfront serves MCP over gRPC: connections that carry JSON-RPC messages
// unchanged, and single requests for programs that are no MCP clients. It decides
// who may come in before anything of a call is read, and gives every refusal and
// every error of a server a status. It never talks to a server itself.
//
// Runs in: proxy.
package grpcfront

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/reflection"
	"google.golang.org/grpc/status"

	"mcpgateway/proxy/arrivals"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/grpcfront/gatewaypb"
)

// Front serves gRPC clients.
type Front struct {
	gatewaypb.UnimplementedGatewayServer

	current func() *gate.Current
	ready   Readiness
	log     *slog.Logger
	times   times
	bounds  *arrivals.Bounds
	calls   calls
	closing chan struct{} // closed when the gateway stops
	running sync.WaitGroup
}

// times of a connection or stream. No one of them bounds a whole one.
type times struct {
	handshake time.Duration // for a connection to become one of HTTP/2
	idle      time.Duration // of a connection without calls
	quiet     time.Duration // before a connection of which nothing is heard is pinged
	pong      time.Duration // for the answer to that
	often     time.Duration // between pings of a client, at least
	beat      time.Duration // between questions whether a stream is allowed still
	write     time.Duration // for a client to take the next 64 KiB
	grace     time.Duration // for calls in flight when the gateway stops
}

const (
	maxStrangers      = 1024 // connections of one address without a valid key so far
	maxStreams        = 256  // calls at a time on one connection
	maxCallsPerCaller = 256  // on all connections
	maxHeaderBytes    = 16 << 10
	renewWait         = 5 * time.Second // for keys that a token needs anew while its stream lasts
	maxEnvelope       = 4 << 10         // of a gRPC message, around the MCP message in it
	streamWindow      = 256 << 10       // bytes of one call that nobody has read, beside the message that is read
	connWindow        = 1 << 20         // and of all on one connection
	maxWorkers        = 64              // goroutines that serve one call after another, whose stacks have grown; more calls have one each
)

// Readiness says what can take calls now, by the reason why not; nil if it can.
type Readiness struct {
	Gateway func() error
	Server  func(name string) (why error, known bool)
}

// New returns a front. current gives the generation in force, nil before the
// first one.
func New(current func() *gate.Current, ready Readiness, log *slog.Logger) *Front {
	return &Front{
		current: current, ready: ready, log: log, calls: calls{held: map[string]int{}}, closing: make(chan struct{}),
		bounds: arrivals.New(func() (all, each int) { return current().Connections() }, maxStrangers),
		times: times{
			handshake: 10 * time.Second,
			idle:      5 * time.Minute,
			quiet:     15 * time.Second,
			pong:      30 * time.Second,
			often:     10 * time.Second,
			beat:      15 * time.Second,
			write:     30 * time.Second,
			grace:     8 * time.Second, // the gateway ends calls before that
		},
	}
}

// Serve serves clients on the listeners, which it closes, until ctx ends; then
// streams end at once and calls in flight have a moment to finish. It may be called
// once. The size of messages is bounded by the policy that is in force when it is
// called, and by the one in force when they come.
func (f *Front) Serve(parent context.Context, listeners ...net.Listener) error {
	if len(listeners) == 0 {
		<-parent.Done()
		return nil
	}
	server := f.server()
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	var serving sync.WaitGroup
	for _, l := range listeners {
		serving.Go(func() {
			cancel(server.Serve(f.bounds.Limit(l)))
		})
	}
	<-ctx.Done()
	close(f.closing)
	grace := time.AfterFunc(f.times.grace, server.Stop)
	server.GracefulStop()
	grace.Stop()
	serving.Wait()
	f.running.Wait()
	if parent.Err() != nil {
		return nil
	}
	return context.Cause(ctx)
}

func (f *Front) server() *grpc.Server {
	server := grpc.NewServer(
		grpc.Creds(newCredentials(f.tls)),
		grpc.InTapHandle(f.admit),
		grpc.ChainUnaryInterceptor(f.containUnary),
		grpc.ChainStreamInterceptor(f.containStream),
		grpc.MaxRecvMsgSize(int(f.maxMessage())+maxEnvelope),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(f.times.handshake),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: f.times.idle, Time: f.times.quiet, Timeout: f.times.pong,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: f.times.often, PermitWithoutStream: true}),
		grpc.WaitForHandlers(true),
		grpc.NumStreamWorkers(maxWorkers),
		// Windows that grow with what the connection can carry are found out by a ping with
		// nearly each message, and would let a client have 16 MiB of them.
		grpc.StaticStreamWindowSize(streamWindow),
		grpc.StaticConnWindowSize(connWindow),
	)
	gatewaypb.RegisterGatewayServer(server, f)
	healthpb.RegisterHealthServer(server, newHealth(f))
	reflection.Register(server)
	return server
}

// maxMessage is the most bytes of one message of a client.
func (f *Front) maxMessage() int64 {
	if now := f.current(); now != nil {
		return now.Policy.Limits.MaxBodyBytes
	}
	return 4 << 20
}

// tooLarge refuses what the policy in force refuses.
func (f *Front) tooLarge(size int) error {
	if limit := f.maxMessage(); int64(size) > limit {
		return status.Errorf(codes.ResourceExhausted, "the message is larger than %d bytes, the limit", limit)
	}
	return nil
}
