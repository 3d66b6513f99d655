package operator

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"mcpgateway/proxy/report"
)

func (o *Operator) status(*http.Request) (any, error) { return o.source.Status(), nil }

func (o *Operator) servers(*http.Request) (any, error) {
	return report.Servers{Servers: append([]report.Server{}, o.source.Servers()...)}, nil
}

func (o *Operator) server(r *http.Request) (any, error) {
	name, err := o.known(r)
	if err != nil {
		return nil, err
	}
	detail, known := o.source.Server(name)
	if !known { // it went meanwhile
		return nil, &failure{http.StatusNotFound, fmt.Errorf("there is no enabled server %.100q", name)}
	}
	return detail, nil
}

// act answers a request that changes what becomes of a server.
func act(do func(Source, context.Context, string) (report.Done, error)) func(*Operator, *http.Request) (any, error) {
	return func(o *Operator, r *http.Request) (any, error) {
		name, err := o.known(r)
		if err != nil {
			return nil, err
		}
		return do(o.source, r.Context(), name)
	}
}

// call answers POST /servers/NAME/call with the tool's result.
func (o *Operator) call(r *http.Request) (any, error) {
	name, err := o.known(r)
	if err != nil {
		return nil, err
	}
	call, err := parseCall(r.Body)
	if err != nil {
		return nil, err
	}
	result, err := o.source.Call(r.Context(), name, call)
	return report.Called{Result: result}, err
}

// parseCall takes no more than it knows.
func parseCall(body io.Reader) (call report.Call, err error) {
	text, err := io.ReadAll(body)
	if err != nil {
		return call, invalid("read the call: %w", err)
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&call); err != nil {
		return call, invalid("read the call: %w", err)
	}
	if _, err := decoder.Token(); err != io.EOF {
		return call, invalid("read the call: there is something after it")
	}
	switch {
	case call.Tool == "":
		return call, invalid("read the call: it names no tool")
	case len(call.Arguments) > 0 && call.Arguments[0] != '{':
		return call, invalid("read the call: its arguments are no object")
	}
	return call, nil
}
