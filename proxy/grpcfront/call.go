package grpcfront

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/grpcfront/gatewaypb"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Call serves one request.
func (f *Front) Call(ctx context.Context, r *gatewaypb.CallRequest) (*gatewaypb.CallResponse, error) {
	if r.GetMethod() == mcp.MethodListen {
		return nil, status.Errorf(codes.InvalidArgument, "%s has no result before its end: use CallStream", r.GetMethod())
	}
	m, err := f.ask(ctx, r)
	if err != nil {
		return nil, err
	}
	return &gatewaypb.CallResponse{ResultJson: string(m.Result())}, nil
}

// Discover says what there is in a scope.
func (f *Front) Discover(ctx context.Context, r *gatewaypb.DiscoverRequest) (*gatewaypb.DiscoverResponse, error) {
	m, err := f.ask(ctx, &gatewaypb.CallRequest{Scope: r.GetScope(), Method: mcp.MethodDiscover})
	if err != nil {
		return nil, err
	}
	a := admittedOf(ctx)
	servers, err := a.Gate.Resolve(a.caller, scopeOf(r.GetScope()))
	if err != nil {
		return nil, refused(ctx, err)
	}
	return &gatewaypb.DiscoverResponse{Servers: servers, ResultJson: string(m.Result())}, nil
}

// ask sends a request and waits for its result under the deadline of the RPC.
func (f *Front) ask(ctx context.Context, r *gatewaypb.CallRequest) (mcp.Message, error) {
	call, err := f.send(ctx, r)
	if err != nil {
		return mcp.Message{}, err
	}
	m, err := link.Await(ctx, call)
	switch {
	case err != nil:
		return m, status.FromContextError(ctx.Err()).Err()
	case m.Err() != nil:
		return m, answered(m)
	}
	return m, nil
}

// CallStream serves one request, and passes on what comes before its result.
func (f *Front) CallStream(r *gatewaypb.CallRequest, stream grpc.ServerStreamingServer[gatewaypb.CallStreamResponse]) error {
	ctx := stream.Context()
	call, err := f.send(ctx, r)
	if err != nil {
		return err
	}
	return f.patient(func(w *writes) error {
		for {
			select {
			case <-call.Ready():
			case <-ctx.Done():
				call.Cancel("the caller has gone")
				return status.FromContextError(ctx.Err()).Err()
			}
			for _, m := range call.Take() {
				if m.Err() != nil {
					return answered(m)
				}
				if err := w.do(len(m.Raw()), func() error { return stream.Send(streamed(m)) }); err != nil {
					call.Cancel("the caller has gone")
					return err
				}
				if m.Kind() == mcp.Response {
					return nil
				}
			}
		}
	}, f.watch(ctx, scopeOf(r.GetScope())))
}

// streamed is a message of a call as CallStream has it.
func streamed(m mcp.Message) *gatewaypb.CallStreamResponse {
	if m.Kind() == mcp.Response {
		return &gatewaypb.CallStreamResponse{Kind: &gatewaypb.CallStreamResponse_ResultJson{ResultJson: string(m.Result())}}
	}
	return &gatewaypb.CallStreamResponse{Kind: &gatewaypb.CallStreamResponse_Notification{
		Notification: &gatewaypb.Notification{Method: m.Method(), ParamsJson: string(m.Params())},
	}}
}

// send passes a request on.
func (f *Front) send(ctx context.Context, r *gatewaypb.CallRequest) (link.Call, error) {
	if err := f.tooLarge(len(r.GetParamsJson())); err != nil {
		return nil, err
	}
	m, err := request(r.GetMethod(), r.GetParamsJson(), agentOf(ctx))
	if err != nil {
		return nil, err
	}
	a := admittedOf(ctx)
	reply, err := a.Gate.Do(ctx, gate.Request{Origin: a.origin, Caller: a.caller, Scope: scopeOf(r.GetScope()), Stateless: true, Message: m})
	if err != nil {
		return nil, refused(ctx, err)
	}
	return reply.Call, nil
}

func scopeOf(s *gatewaypb.Scope) policy.Scope {
	return policy.Scope{Server: s.GetServer(), Project: s.GetProject()}
}

// request makes a request of the stateless era of what a caller said of it. What
// the caller has in _meta stays.
func request(method, params, agent string) (mcp.Message, error) {
	if method == "" {
		return mcp.Message{}, status.Error(codes.InvalidArgument, "method is missing")
	}
	object := []byte("{}")
	if params != "" {
		var err error
		if object, err = mcp.ParseObject([]byte(params)); err != nil {
			return mcp.Message{}, status.Errorf(codes.InvalidArgument, "params_json: %v", err)
		}
	}
	m := mcp.NewRequest([]byte("1"), method, object)
	if m.Param("_meta").Empty() {
		m = m.Insert(m.Param(), []byte(`"_meta":{}`))
	}
	meta := m.Param("_meta")
	if !mcp.IsObject(m.At(meta)) {
		return mcp.Message{}, status.Error(codes.InvalidArgument, "params_json: _meta is not an object")
	}
	if own := m.Param("_meta", mcp.MetaRevision); !own.Empty() {
		if revision, ok := m.Text(own); !ok || !mcp.Stateless(revision) {
			return mcp.Message{}, answered(mcp.NewUnsupported(nil, revision))
		}
	}
	var added []byte
	for _, member := range []struct {
		name  string
		value []byte
	}{
		{mcp.MetaRevision, mcp.Quote(mcp.Revision2026July)},
		{mcp.MetaCapabilities, []byte("{}")},
		{mcp.MetaClientInfo, clientInfo(agent)},
	} {
		if !m.Param("_meta", member.name).Empty() {
			continue
		}
		if len(added) > 0 {
			added = append(added, ',')
		}
		added = append(append(append(added, mcp.Quote(member.name)...), ':'), member.value...)
	}
	if len(added) == 0 {
		return m, nil
	}
	return m.Insert(meta, added).Noted(), nil // much is asked of it from here on
}

// maxAgent bounds how a client may call itself.
const maxAgent = 100

// clientInfo is how servers know a client: by the first part of its user agent,
// such as "grpcurl/1.9.4 grpc-go/1.85.0".
func clientInfo(agent string) []byte {
	first, _, _ := strings.Cut(agent[:min(len(agent), maxAgent)], " ")
	name, version, _ := strings.Cut(first, "/")
	if name == "" {
		name = "gRPC client"
	}
	if version == "" {
		version = "unknown"
	}
	return append(append(append([]byte(`{"name":`), mcp.Quote(name)...), append([]byte(`,"version":`), mcp.Quote(version)...)...), '}')
}

func agentOf(ctx context.Context) string {
	if agent := metadata.ValueFromIncomingContext(ctx, "user-agent"); len(agent) > 0 {
		return agent[0]
	}
	return ""
}

// single returns the value of a key of the metadata, "" if it is absent.
func single(md metadata.MD, key string) (string, error) {
	switch values := md.Get(key); len(values) {
	case 0:
		return "", nil
	case 1:
		return values[0], nil
	}
	return "", errors.New(key + " was sent more than once")
}
