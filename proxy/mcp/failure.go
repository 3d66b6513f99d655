package mcp

// Failure is why the gateway answered a request in the place of its server. It is
// in the data of the error, so that every front can tell it from what a server
// says.
type Failure string

// The failures.
const (
	FailureLate  Failure = "timeout" // the server did not answer in time
	FailureEnded Failure = "ended"   // the server ended before it answered
	// FailureCancelled is no fault of the server's.
	FailureCancelled Failure = "cancelled"
)

const dataFailure = "mcpgateway/failure"

// NewFailure makes the error response for a failure.
func NewFailure(id []byte, why Failure, message string) Message {
	return NewError(id, CodeInternal, message, []byte(`{"`+dataFailure+`":"`+string(why)+`"}`))
}

// Failure is the failure that a response is; "" if it is none.
func (m Message) Failure() Failure {
	why, _ := m.Text(m.InError("data", dataFailure))
	return Failure(why)
}
