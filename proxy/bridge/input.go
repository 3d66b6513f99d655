package bridge

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"mcpgateway/proxy/backend"
	"mcpgateway/proxy/link"
	"mcpgateway/proxy/mcp"
)

// inputWait is how long a server that asked for input waits for its caller to come
// back with it.
const inputWait = 10 * time.Minute

// Bounds of the requests of one process that wait for input, beside the one that is
// over them. The oldest gives way: its caller has had the longest time.
const (
	maxWaiting      = 256
	maxWaitingBytes = 16 << 20 // of what was asked
)

// inputs are the requests that wait for input. The state that a caller gets and
// must bring back is a random name of the entry here: it says nothing, can't be
// guessed or altered, and is good once, for one owner, one request and a while.
type inputs struct {
	mu      sync.Mutex
	waiting map[string]*input
}

type input struct {
	call      *backend.Call // nil: nothing waits, and the request is made anew
	owner     string
	request   [sha256.Size]byte
	questions []question
	asked     time.Time
	timer     *time.Timer
}

// size is what an entry holds in memory, at least.
func (in *input) size() (bytes int) {
	for _, q := range in.questions {
		bytes += len(q.params)
	}
	return bytes
}

// question is something that a server asks of its caller.
type question struct {
	key    string // toward the caller
	id     []byte // toward the server
	method string
	params []byte
}

// park lets a call wait for input and returns the result that asks for it.
func (s *Stateless) park(l *leg, asked []mcp.Message) mcp.Message {
	in := &input{call: l.Call, owner: l.owner, request: fingerprint(l.request)}
	for i, m := range asked {
		in.questions = append(in.questions, question{inputKey(i), m.ID(), m.Method(), m.Params()})
	}
	return s.ask(l.request.ID(), in)
}

func inputKey(i int) string { return "input-" + strconv.Itoa(i+1) }

// ask makes an entry, and the result that tells of it.
func (s *Stateless) ask(id []byte, in *input) mcp.Message {
	state := rand.Text()
	result := append([]byte(`{"resultType":"input_required","requestState":`), mcp.Quote(state)...)
	result = append(result, `,"inputRequests":{`...)
	for i, q := range in.questions {
		if i > 0 {
			result = append(result, ',')
		}
		result = append(append(append(result, mcp.Quote(q.key)...), `:{"method":`...), mcp.Quote(q.method)...)
		if q.params != nil {
			// What names the question toward the server means nothing to the caller.
			result = append(append(result, `,"params":`...), mcp.Without(q.params, "elicitationId", "task", "_meta")...)
		}
		result = append(result, '}')
	}
	if in.call != nil {
		in.call.Pause(inputWait + time.Minute) // the entry's own end comes first
	}
	s.inputs.keep(state, in)
	return mcp.NewResult(id, append(result, `}}`...))
}

// keep keeps an entry for a while.
func (i *inputs) keep(state string, in *input) {
	i.mu.Lock()
	in.asked = time.Now()
	in.timer = time.AfterFunc(inputWait, func() { i.forget(state) })
	i.waiting[state] = in
	over := i.overLocked()
	i.mu.Unlock()
	for _, state := range over {
		i.forget(state)
	}
}

// overLocked are the oldest entries, as far as there are too many. i.mu must be held.
func (i *inputs) overLocked() (states []string) {
	bytes := 0
	for state, in := range i.waiting {
		states = append(states, state)
		bytes += in.size()
	}
	slices.SortFunc(states, func(a, b string) int { return i.waiting[a].asked.Compare(i.waiting[b].asked) })
	for n, state := range states {
		if left := len(states) - n; left == 1 || left <= maxWaiting && bytes <= maxWaitingBytes {
			return states[:n]
		}
		bytes -= i.waiting[state].size()
	}
	return nil
}

// forget gives up an entry whose caller did not come back.
func (i *inputs) forget(state string) {
	i.mu.Lock()
	in := i.waiting[state]
	delete(i.waiting, state)
	i.mu.Unlock()
	if in != nil {
		in.timer.Stop()
	}
	if in != nil && in.call != nil {
		in.call.Cancel("the input that the server asked for did not come")
	}
}

// claim takes the entry that a caller's state names; nil if there is none for this
// owner and this request.
func (i *inputs) claim(state, owner string, request mcp.Message) *input {
	i.mu.Lock()
	defer i.mu.Unlock()
	in := i.waiting[state]
	if in == nil || in.owner != owner || in.request != fingerprint(request) {
		return nil
	}
	delete(i.waiting, state)
	in.timer.Stop()
	return in
}

// Awaits reports whether the process waits for the input that a request brings.
func (s *Stateless) Awaits(owner string, request mcp.Message) bool {
	state, _ := request.Text(request.Param("requestState"))
	s.inputs.mu.Lock()
	defer s.inputs.mu.Unlock()
	in := s.inputs.waiting[state]
	return in != nil && in.owner == owner && in.request == fingerprint(request)
}

// fingerprint is the same for a request and its repetition with input.
func fingerprint(request mcp.Message) [sha256.Size]byte {
	params := jsontext.Value(mcp.Without(request.Params(), "_meta", "inputResponses", "requestState"))
	// An error means half a surrogate pair, which leaves the text as it is.
	_ = params.Canonicalize(jsontext.AllowInvalidUTF8(true))
	return sha256.Sum256(append(append([]byte(request.Method()), 0), params...))
}

// unfitInput says what is wrong with the input that a request brings, whoever asked
// for it; "" if nothing is.
func unfitInput(request mcp.Message) (text string) {
	responses := request.At(request.Param("inputResponses"))
	if responses == nil {
		return ""
	}
	if !mcp.IsObject(responses) {
		return "inputResponses is not an object"
	}
	mcp.Edit(responses, func(name string, value []byte) ([]byte, bool) {
		if !mcp.IsObject(value) {
			text = fmt.Sprintf("inputResponses has %.100q, which is not an object", name)
		}
		return value, true
	})
	return text
}

// resume answers what the server asked, and goes on with the call. What the caller
// left out is asked again.
func (s *Stateless) resume(ctx context.Context, owner string, request mcp.Message) (link.Call, error) {
	state, _ := request.Text(request.Param("requestState"))
	in := s.inputs.claim(state, owner, request)
	if in == nil {
		return link.Answered(mcp.NewError(request.ID(), mcp.CodeInvalidParams,
			"requestState is not, or no longer, that of this request: send the request again without it", nil)), nil
	}
	if in.call == nil {
		return s.again(ctx, owner, request, in)
	}
	in.call.Rebind(request)
	var missing []question
	for _, q := range in.questions {
		answer := request.Param("inputResponses", q.key)
		if answer.Empty() {
			missing = append(missing, q)
			continue
		}
		if err := s.conn.Send(ctx, mcp.NewResult(q.id, request.At(answer))); err != nil {
			return nil, err
		}
	}
	if missing != nil {
		in.questions = missing
		return link.Answered(s.ask(request.ID(), in)), nil
	}
	in.call.Resume()
	return s.leg(in.call, owner, request), nil
}

// again makes a request anew after its caller was sent to a page, if the user went
// there.
func (s *Stateless) again(ctx context.Context, owner string, request mcp.Message, in *input) (link.Call, error) {
	for _, q := range in.questions {
		if action, _ := request.Text(request.Param("inputResponses", q.key, "action")); action != "accept" {
			return link.Answered(mcp.NewError(request.ID(), mcp.CodeInternal, "the user did not agree to what the server needs: "+q.method, nil)), nil
		}
	}
	return s.pass(ctx, owner, request)
}

// urlsWanted turns the error of a server that needs its user to visit pages first
// (2025-11-25, client/elicitation) into the result that asks for it. ok is false
// if the error does not say what it needs.
func (l *leg) urlsWanted(m mcp.Message) (answer mcp.Message, ok bool) {
	if l.request.Param("_meta", mcp.MetaCapabilities, "elicitation", "url").Empty() {
		return mcp.NewError(l.request.ID(), mcp.CodeMissingCapability, "the server needs to send the user to a page",
			[]byte(`{"requiredCapabilities":{"elicitation":{"url":{}}}}`)), true
	}
	in := &input{owner: l.owner, request: fingerprint(l.request)}
	for params := range mcp.Elements(m.At(m.InError("data", "elicitations"))) {
		in.questions = append(in.questions, question{key: inputKey(len(in.questions)), method: mcp.MethodElicit, params: params})
	}
	if in.questions == nil {
		return mcp.Message{}, false
	}
	return l.bridge.ask(l.request.ID(), in), true
}
