package grpcfront

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

	"mcpgateway/policy"
)

// describe asks the gateway for the file that a symbol is in.
func describe(ctx context.Context, conn *grpc.ClientConn, symbol string) (protoreflect.FileDescriptor, error) {
	stream, err := grpc_reflection_v1.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(&grpc_reflection_v1.ServerReflectionRequest{
		MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: symbol},
	}); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	got, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	files := got.GetFileDescriptorResponse().GetFileDescriptorProto()
	if len(files) != 1 {
		return nil, fmt.Errorf("got %d files", len(files))
	}
	var file descriptorpb.FileDescriptorProto
	if err := proto.Unmarshal(files[0], &file); err != nil {
		return nil, err
	}
	return protodesc.NewFile(&file, nil)
}

// A client that has none of the generated code finds out what to send.
func TestReflection(t *testing.T) {
	g := newGateway(t, nil)
	conn := g.dial(nil)
	_, err := describe(t.Context(), conn, "mcpgateway.v1.Gateway")
	wantStatus(t, err, codes.Unauthenticated, "no credential")
	file, err := describe(g.with(t.Context()), conn, "mcpgateway.v1.Gateway")
	if err != nil {
		t.Fatal(err)
	}
	method := file.Services().ByName("Gateway").Methods().ByName("Call")
	request, response := dynamicpb.NewMessage(method.Input()), dynamicpb.NewMessage(method.Output())
	if err := protojson.Unmarshal([]byte(`{"scope":{"server":"echo"},"method":"tools/call","paramsJson":"{\"name\":\"x\"}"}`), request); err != nil {
		t.Fatal(err)
	}
	if err := conn.Invoke(g.with(t.Context()), "/mcpgateway.v1.Gateway/Call", request, response); err != nil {
		t.Fatal(err)
	}
	if text := response.Get(method.Output().Fields().ByName("result_json")).String(); !strings.Contains(text, `"content"`) {
		t.Errorf("got %s", text)
	}
}

// A client that pings all the time is sent away.
func TestPingsAreBounded(t *testing.T) {
	g := newGateway(t, func(f *Front, _ *policy.Policy) { f.times.often = time.Minute })
	conn, err := net.Dial("tcp", g.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	framer := http2.NewFramer(conn, conn)
	if err := framer.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		_ = framer.WritePing(false, [8]byte{}) // it may be over by now
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			t.Fatalf("got %v, want to be sent away", err)
		}
		if bye, ok := frame.(*http2.GoAwayFrame); ok && bye.ErrCode == http2.ErrCodeEnhanceYourCalm {
			return
		}
	}
}
