package grpcfront

import (
	"context"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"mcpgateway/policy"
	"mcpgateway/policy/authn"
	"mcpgateway/proxy/gate"
)

// admitted is what is known of a call when it is let in.
type admitted struct {
	*gate.Current // the generation that the call uses throughout
	caller        *policy.Identity
	credentials   authn.Request
	origin        gate.Origin
	stop          func() bool // ends the wait for the end of the call, at which leave is called
	leave         func()
}

// left is for who knows that the call is over, and needs nobody to wait for that.
func (a *admitted) left() {
	if a.stop() {
		a.leave()
	}
}

type admittedKey struct{}

func admittedOf(ctx context.Context) *admitted {
	a, ok := ctx.Value(admittedKey{}).(*admitted)
	if !ok {
		panic("a call that was not admitted")
	}
	return a
}

// admit decides on every call before its message is read: a stranger makes nobody hold
// anything, and gets no further than health checks, for what supervises the gateway has
// no key. It is called for each call in turn, and so does not wait.
func (f *Front) admit(ctx context.Context, call *tap.Info) (_ context.Context, err error) {
	defer f.contain(&err)
	supervision := strings.HasPrefix(call.FullMethodName, "/"+healthpb.Health_ServiceDesc.ServiceName+"/")
	a := &admitted{Current: f.current(), credentials: credentialsOf(ctx, call.Header)}
	a.origin = gate.Origin{Transport: "grpc", Source: a.credentials.Source, Trace: gate.TraceOf(call.Header.Get("traceparent"))}
	if supervision && (a.Current == nil || !a.Auth.Shown(a.credentials)) {
		return ctx, nil
	}
	if a.Current == nil {
		return nil, status.Error(codes.Unavailable, "the gateway is starting")
	}
	// Keys that must be fetched first are fetched while the client comes again.
	now, cancel := context.WithCancel(ctx)
	cancel()
	if a.caller, err = a.Admit(now, gate.Arrival{Request: a.credentials, Address: call.FullMethodName, Origin: a.origin}); err != nil {
		return nil, refused(ctx, err)
	}
	if !known(ctx, a.caller.Subject) {
		return nil, status.Error(codes.ResourceExhausted, "this caller has too many connections")
	}
	if !f.calls.enter(a.caller.Subject) {
		return nil, status.Errorf(codes.ResourceExhausted, "this caller has %d calls in flight, the limit", maxCallsPerCaller)
	}
	// The context of a call ends with it, in whatever way.
	a.leave = func() { f.calls.leave(a.caller.Subject) }
	a.stop = context.AfterFunc(ctx, a.leave)
	return context.WithValue(ctx, admittedKey{}, a), nil
}

// credentialsOf takes out of a call what authn looks at.
func credentialsOf(ctx context.Context, md metadata.MD) authn.Request {
	r := authn.Request{
		Transport: "grpc",
		Header:    http.Header{"Authorization": md.Get("authorization"), "X-Api-Key": md.Get("x-api-key")},
	}
	from, ok := peer.FromContext(ctx)
	if !ok {
		return r
	}
	if address, isTCP := from.Addr.(*net.TCPAddr); isTCP {
		r.Source = address.AddrPort().Addr().Unmap().WithZone("")
	}
	r.TLS = secured(from)
	return r
}

// stillAllowed asks again whether the caller of a long stream may have it: a key is
// revoked, or ends, and streams with it.
func (f *Front) stillAllowed(a *admitted, scope policy.Scope) bool {
	ctx, cancel := context.WithTimeout(context.Background(), renewWait)
	defer cancel()
	return f.current().Renew(ctx, a.credentials, scope) == nil
}

// calls counts those of each caller.
type calls struct {
	mu   sync.Mutex
	held map[string]int
}

func (c *calls) enter(subject string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[subject] >= maxCallsPerCaller {
		return false
	}
	c.held[subject]++
	return true
}

func (c *calls) leave(subject string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[subject]--; c.held[subject] == 0 {
		delete(c.held, subject)
	}
}

func (f *Front) containUnary(ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (response any, err error) {
	defer f.contain(&err)
	if a, ok := ctx.Value(admittedKey{}).(*admitted); ok { // else it asks for health
		defer a.left()
	}
	return handle(ctx, request)
}

func (f *Front) containStream(server any, stream grpc.ServerStream, _ *grpc.StreamServerInfo, handle grpc.StreamHandler) (err error) {
	defer f.contain(&err)
	return handle(server, stream)
}

// contain makes a panic the end of one call.
func (f *Front) contain(err *error) {
	if problem := recover(); problem != nil {
		f.log.Error("call panicked", "err", problem, "stack", string(debug.Stack()))
		*err = status.Error(codes.Internal, "internal error")
	}
}
