package bridge

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// Waits before a request is repeated for a server that asks for nothing but that.
const (
	firstPause = 100 * time.Millisecond
	maxPause   = 5 * time.Second
)

var errInputTime = fmt.Errorf("what the server wanted to know of the client was not settled within %s", maxInputTime)

// settle works on a request from its first response on until the server has a result
// that is complete: what the server wants to know meanwhile, the client is asked.
func (e *exchange) settle(ctx context.Context, c *client, request, response mcp.Message) mcp.Message {
	if !wantsInput(request.Method(), response) {
		return c.response(e.request, response)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, maxInputTime, errInputTime)
	defer cancel()
	turns := turns{exchange: e, client: c, pause: firstPause}
	for wantsInput(request.Method(), response) {
		var call link.Call
		input, err := turns.next(ctx, response)
		if err == nil {
			call, err = e.session.do(ctx, ctx, request.Insert(request.Param(), input))
		}
		if err != nil {
			return e.fail(err)
		}
		response = e.relay(ctx, call)
	}
	return c.response(e.request, response)
}

// wantsInput reports whether a response says that the request is to be repeated
// with more.
func wantsInput(method string, response mcp.Message) bool {
	kind, complete := resultType(response)
	return !complete && kind == "input_required" && asks(method)
}

// turns is how often a request was repeated.
type turns struct {
	*exchange
	client *client
	asked  int
	pause  time.Duration
}

// next does what a result of input_required asks for, and returns the members that
// params have more in the repeated request.
func (t *turns) next(ctx context.Context, response mcp.Message) (input []byte, err error) {
	requests := mcp.Edit(response.At(response.InResult("inputRequests")), func(_ string, request []byte) ([]byte, bool) {
		return request, true
	})
	state := response.InResult("requestState")
	switch {
	case len(requests) > len("{}"):
		input, err = t.ask(ctx, requests)
	case state.Empty():
		err = errors.New("the server wants more input, but does not say what")
	default:
		err = t.wait(ctx)
	}
	if err != nil || state.Empty() {
		return input, err
	}
	if input != nil {
		input = append(input, ',')
	}
	return append(append(input, `"requestState":`...), response.At(state)...), nil
}

// wait waits before a request is repeated that lacks nothing but time.
func (t *turns) wait(ctx context.Context) error {
	timer := time.NewTimer(t.pause)
	defer timer.Stop()
	t.pause = min(2*t.pause, maxPause)
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// ask asks the client all that the server wants to know.
func (t *turns) ask(ctx context.Context, requests []byte) ([]byte, error) {
	if t.asked++; t.asked > maxRounds {
		return nil, fmt.Errorf("the server asked the client more than %d times for one request", maxRounds)
	}
	questions, err := t.questions(requests)
	if err != nil {
		return nil, err
	}
	results, err := t.results(ctx, questions)
	if err != nil {
		return nil, err
	}
	next := 0
	responses := mcp.Edit(requests, func(string, []byte) ([]byte, bool) {
		next++
		return results[next-1], true
	})
	return append([]byte(`"inputResponses":`), responses...), nil
}

// questions makes requests to the client of those of the server, all or none.
func (t *turns) questions(requests []byte) ([]mcp.Message, error) {
	var questions []mcp.Message
	for _, request := range mcp.Members(requests) {
		if len(questions) == maxInputs {
			return nil, fmt.Errorf("the server asked the client more than %d things at once", maxInputs)
		}
		t.session.mu.Lock()
		id := t.session.nextIDLocked()
		t.session.mu.Unlock()
		question, err := t.client.question(id, request)
		if err != nil {
			return nil, err
		}
		questions = append(questions, question)
	}
	return questions, nil
}

// results asks questions and returns the raw results in the questions' order. What
// is still to be answered when it returns, the client need not answer any more.
func (t *turns) results(ctx context.Context, questions []mcp.Message) ([][]byte, error) {
	answers := make(chan mcp.Message, len(questions))
	places := map[string]int{}
	defer t.withdraw(questions)
	for i, question := range questions {
		places[string(question.ID())] = i
		t.session.mu.Lock()
		t.session.asked[string(question.ID())] = answers
		t.session.mu.Unlock()
		if !t.deliver(question) {
			return nil, errDeaf
		}
	}
	results := make([][]byte, len(questions))
	for range questions {
		select {
		case answer := <-answers:
			place := places[string(answer.ID())]
			result, err := inputResult(questions[place].Method(), answer)
			if err != nil {
				return nil, err
			}
			results[place] = result
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return results, nil
}

// withdraw tells the client which questions are of no more use.
func (t *turns) withdraw(questions []mcp.Message) {
	for _, question := range questions {
		t.session.mu.Lock()
		_, open := t.session.asked[string(question.ID())]
		delete(t.session.asked, string(question.ID()))
		t.session.mu.Unlock()
		if open {
			params := fmt.Sprintf(`{"requestId":%s,"reason":"the request that it belongs to has ended"}`, question.ID())
			t.deliver(mcp.NewRequest(nil, mcp.MethodCancelled, []byte(params)))
		}
	}
}

// inputResult is the client's answer as the server wants it. A question to people
// that could not be put to them was cancelled; no other can stay open.
func inputResult(method string, answer mcp.Message) ([]byte, error) {
	switch {
	case mcp.IsObject(answer.Result()):
		return answer.Result(), nil
	case answer.Err() == nil:
		return nil, fmt.Errorf("the client answered %s with a result that is no object", method)
	case method == mcp.MethodElicit:
		return []byte(`{"action":"cancel"}`), nil
	}
	text, _ := answer.Text(answer.InError("message"))
	f := &failure{code: mcp.CodeInternal, text: fmt.Sprintf("the client refused %s: %s", method, text), data: answer.At(answer.InError("data"))}
	if code, err := strconv.Atoi(string(answer.At(answer.InError("code")))); err == nil {
		f.code = code
	}
	return nil, f
}
