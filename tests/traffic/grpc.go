package traffic

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	pb "mcpgateway/proxy/grpcfront/gatewaypb"
)

// GRPC opens a session at the gateway's gRPC address: of the handshake era a stream of
// messages, of the other one single requests.
func GRPC(address, key, server string, era Era) (Session, error) {
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+key, "mcp-server", server))
	client := pb.NewGatewayClient(conn)
	end := func() error {
		cancel()
		return conn.Close()
	}
	if era == Stateless {
		s := &unarySession{client: client, server: server, ctx: ctx, end: end}
		if err := s.Call(); err != nil {
			return nil, errors.Join(err, end())
		}
		return s, nil
	}
	messages, err := client.Connect(ctx)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	s := &streamSession{messages: messages, end: end}
	if err := begin(s, era); err != nil {
		return nil, errors.Join(err, end())
	}
	return s, nil
}

type unarySession struct {
	client pb.GatewayClient
	server string
	ctx    context.Context // of all calls: it has the key
	end    func() error
}

func (s *unarySession) Call() error {
	answer, err := s.client.Call(s.ctx, &pb.CallRequest{
		Scope: &pb.Scope{To: &pb.Scope_Server{Server: s.server}}, Method: "tools/call", ParamsJson: "{" + params(echoed) + "}",
	})
	if err != nil {
		return err
	}
	return check([]byte(answer.GetResultJson()))
}

func (s *unarySession) Close() error { return s.end() }

type streamSession struct {
	messages grpc.BidiStreamingClient[pb.Message, pb.Message]
	calls    int
	end      func() error
}

func (s *streamSession) Call() error {
	s.calls++
	answer, err := s.ask(Handshake.call(s.calls))
	if err != nil {
		return err
	}
	return check(answer)
}

func (s *streamSession) send(message []byte) error {
	return s.messages.Send(&pb.Message{Json: message})
}

func (s *streamSession) ask(message []byte) ([]byte, error) {
	if err := s.send(message); err != nil {
		return nil, err
	}
	answer, err := s.messages.Recv()
	return answer.GetJson(), err
}

func (s *streamSession) Close() error { return s.end() }
