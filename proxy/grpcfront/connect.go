package grpcfront

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"mcpgateway/policy"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/grpcfront/gatewaypb"
)

type messages = grpc.BidiStreamingServer[gatewaypb.Message, gatewaypb.Message]

// Connect serves a connection of an MCP client.
func (f *Front) Connect(stream messages) error {
	ctx := stream.Context()
	a := admittedOf(ctx)
	scope, err := addressed(ctx)
	if err != nil {
		return err
	}
	if err := a.Gate.Enter(ctx, a.origin, a.caller, scope); err != nil {
		return refused(ctx, err)
	}
	duplex := gate.NewDuplex(a.origin, a.caller, scope, func() *gate.Gate { return f.current().Gate })
	defer duplex.Close()
	received := make(chan error, 1)
	// Its goroutine ends when the stream does, after this function.
	f.running.Go(func() {
		var err error
		defer func() { received <- err }()
		defer f.contain(&err)
		err = f.receive(stream, duplex)
	})
	return f.patient(func(w *writes) error {
		for {
			select {
			case m := <-duplex.Out():
				message := &gatewaypb.Message{Json: m.Raw()}
				if err := w.do(len(m.Raw()), func() error { return stream.Send(message) }); err != nil {
					return err
				}
			case err := <-received:
				if err != nil {
					return err
				}
				// The client has said all: it gets its answers.
				duplex.Finish()
				received = nil
			case <-duplex.Done():
				if received == nil {
					return nil
				}
				return status.Error(codes.Unavailable, "the session has ended: connect again")
			case <-ctx.Done():
				return status.FromContextError(ctx.Err()).Err()
			}
		}
	}, f.watch(ctx, scope))
}

// receive passes on what the client sends until it has sent all. While it can't,
// it does not read, and the client can't send.
func (f *Front) receive(stream messages, duplex *gate.Duplex) error {
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := f.tooLarge(len(m.GetJson())); err != nil {
			return err
		}
		duplex.Receive(m.GetJson())
	}
}

// addressed is what the metadata of a connection say that it is to.
func addressed(ctx context.Context) (policy.Scope, error) {
	md, _ := metadata.FromIncomingContext(ctx)
	server, err := single(md, "mcp-server")
	if err != nil {
		return policy.Scope{}, status.Error(codes.InvalidArgument, err.Error())
	}
	project, err := single(md, "mcp-project")
	if err != nil {
		return policy.Scope{}, status.Error(codes.InvalidArgument, err.Error())
	}
	if server != "" && project != "" {
		return policy.Scope{}, status.Error(codes.InvalidArgument, "send mcp-server or mcp-project, not both")
	}
	return policy.Scope{Server: server, Project: project}, nil
}
