package grpcfront

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"mcpgateway/policy/authn"
	"mcpgateway/proxy/gate"
	"mcpgateway/proxy/grpcfront/gatewaypb"
	"mcpgateway/proxy/mcp"
)

// A status travels in headers, of which some clients take 8 KiB at most.
const (
	maxStatusText = 512
	maxStatusData = 2048
)

// refused is the status of a call that the gate did not make.
func refused(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return status.FromContextError(ctx.Err()).Err()
	}
	r := gate.RefusalOf(err)
	code := codeOfReason(r.Reason)
	if errors.Is(err, &authn.Error{Kind: authn.Unavailable}) {
		code = codes.Unavailable // which clients try again by themselves
	}
	return statusOf(code, int64(r.Code), r.Text, r.Data())
}

func codeOfReason(r gate.Reason) codes.Code {
	switch r {
	case gate.Unknown:
		return codes.NotFound
	case gate.Gone, gate.Unopened:
		return codes.FailedPrecondition
	case gate.Conflict:
		return codes.Aborted
	case gate.Busy:
		return codes.ResourceExhausted
	case gate.NoMethod:
		return codes.Unimplemented
	case gate.Forbidden:
		return codes.PermissionDenied
	case gate.Limited:
		return codes.ResourceExhausted
	case gate.Stranger:
		return codes.Unauthenticated
	case gate.GivenUp:
		return codes.Canceled
	case gate.Failed, gate.Away:
	}
	return codes.Unavailable
}

// answered is the status of a response that is an error.
func answered(m mcp.Message) error {
	// A number that is no integer of this size is an error code of nobody's.
	code, _ := strconv.ParseInt(string(m.At(m.InError("code"))), 10, 64)
	text, _ := m.Text(m.InError("message"))
	return statusOf(codeOfResponse(m, code), code, text, m.At(m.InError("data")))
}

func codeOfResponse(m mcp.Message, code int64) codes.Code {
	switch m.Failure() {
	case mcp.FailureLate:
		return codes.DeadlineExceeded
	case mcp.FailureEnded:
		return codes.Unavailable
	}
	return codeOfError(code)
}

func codeOfError(code int64) codes.Code {
	switch code {
	case mcp.CodeParse, mcp.CodeInvalidRequest, mcp.CodeInvalidParams, mcp.CodeHeaderMismatch:
		return codes.InvalidArgument
	case mcp.CodeMethodNotFound:
		return codes.Unimplemented
	case mcp.CodeInternal:
		return codes.Internal
	case mcp.CodeMissingCapability, mcp.CodeUnsupportedVersion:
		return codes.FailedPrecondition
	case mcp.CodeResourceNotFound:
		return codes.NotFound
	}
	return codes.Unknown // it means something to the server alone
}

// statusOf makes a status with the error as its detail.
func statusOf(code codes.Code, number int64, text string, data []byte) error {
	text = cut(text)
	if len(data) > maxStatusData {
		data = nil
	}
	s := status.New(code, text)
	detailed, err := s.WithDetails(&gatewaypb.Error{Code: number, Message: text, DataJson: string(data)})
	if err != nil { // a text that is no UTF-8, which none is
		return s.Err()
	}
	return detailed.Err()
}

// cut shortens a text between two characters.
func cut(text string) string {
	if len(text) <= maxStatusText {
		return text
	}
	return strings.ToValidUTF8(text[:maxStatusText], "") + " …"
}
